import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A model server that answers whatever the test wants. */
export interface RogueModel {
  readonly url: string;
  /** Bodies of the requests that came, parsed. */
  // biome-ignore lint/suspicious/noExplicitAny: the tests look at the members that they are about
  readonly requests: any[];
  /** Answers of the next requests, in order; the last one stays. */
  answers: ((response: ServerResponse, request: IncomingMessage) => void)[];
  close(): Promise<void>;
}

export async function startRogueModel(): Promise<RogueModel> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.method !== 'POST') {
        response.end('{"data":[]}');
        return;
      }
      rogue.requests.push(JSON.parse(Buffer.concat(chunks).toString()));
      const answer = rogue.answers.length > 1 ? rogue.answers.shift() : rogue.answers[0];
      if (answer === undefined) response.writeHead(503).end();
      else answer(response, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const rogue: RogueModel = {
    url: `http://127.0.0.1:${port}`,
    requests: [],
    answers: [],
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return rogue;
}

interface Call {
  readonly id?: string;
  readonly name: string;
  /** The arguments as text, which need not be JSON. */
  readonly arguments: string;
}

/** An answer in the format of OpenAI Chat. */
export function chat(said: { text?: string; calls?: readonly Call[]; usage?: unknown; finish?: string }): RogueModel['answers'][number] {
  return (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const send = (chunk: unknown) => response.write(`data: ${JSON.stringify(chunk)}\n\n`);
    if (said.text !== undefined) send({ id: 'r', choices: [{ index: 0, delta: { content: said.text } }] });
    for (const [index, call] of (said.calls ?? []).entries()) {
      const piece = { index, id: call.id ?? `call_${index}`, type: 'function', function: { name: call.name, arguments: call.arguments } };
      send({ id: 'r', choices: [{ index: 0, delta: { tool_calls: [piece] } }] });
    }
    send({
      id: 'r',
      choices: [{ index: 0, delta: {}, finish_reason: said.finish ?? ((said.calls ?? []).length > 0 ? 'tool_calls' : 'stop') }],
    });
    if (said.usage !== undefined) send({ id: 'r', choices: [], usage: said.usage });
    response.end('data: [DONE]\n\n');
  };
}
