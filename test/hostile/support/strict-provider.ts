import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One answer of a provider: events of a stream, or whatever it does with the response. */
export type Answer = readonly unknown[] | ((response: ServerResponse, request: IncomingMessage) => void);

export interface StrictProvider {
  /** Up to and with the version. */
  readonly url: string;
  /** What it refused, each with why; a server that minds its conversation is never refused. */
  readonly refused: readonly string[];
  /** Paths and headers of all that it was asked. */
  readonly asked: readonly { readonly path: string; readonly headers: IncomingMessage['headers'] }[];
  close(): void;
}

interface Message {
  readonly role: string;
  readonly content?: unknown;
  readonly tool_calls?: readonly { readonly id: unknown; readonly function: { readonly name: unknown; readonly arguments: unknown } }[];
  readonly tool_call_id?: unknown;
}

export const delta = (content: unknown, more: object = {}) => ({ id: 'r', choices: [{ index: 0, delta: content, ...more }] });
export const end = (reason: unknown = 'stop', more: object = {}) => ({
  choices: [{ index: 0, delta: {}, finish_reason: reason }],
  usage: { prompt_tokens: 20, completion_tokens: 5, total_tokens: 25 },
  ...more,
});
export const call = (id: unknown, name: unknown, args: unknown, index: unknown = 0) =>
  delta({ tool_calls: [{ index, id, type: 'function', function: { name, arguments: args } }] });

/**
 * A provider that reads as the strictest do: half a character, blank texts, calls without their results, ids twice, names and arguments
 * that are none are refused with 400. The last text of a user names what it answers with, once; after results it says that it is done.
 */
export async function startStrictProvider(answers: Readonly<Record<string, Answer>>): Promise<StrictProvider> {
  const refused: string[] = [];
  const asked: { path: string; headers: IncomingMessage['headers'] }[] = [];
  const server = createServer((request, response) => {
    asked.push({ path: request.url ?? '', headers: request.headers });
    const pieces: Buffer[] = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      if (request.method !== 'POST') return void response.writeHead(404).end('{}');
      const text = Buffer.concat(pieces).toString('utf8');
      const wrong = faultOf(text);
      if (wrong !== null) {
        refused.push(wrong);
        response.writeHead(400, { 'content-type': 'application/json' });
        return void response.end(JSON.stringify({ error: { message: `invalid request: ${wrong}`, type: 'invalid_request_error' } }));
      }
      const { messages }: { messages: Message[] } = JSON.parse(text);
      const last = messages.at(-1);
      const name = last?.role === 'user' ? /answer (\S+)/.exec(textOf(last.content))?.[1] : undefined;
      const answer = (name === undefined ? undefined : answers[name]) ?? [delta({ content: 'done' }), end()];
      if (typeof answer === 'function') return answer(response, request);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(
        `${answer.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('')}data: [DONE]\n\n`,
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    refused,
    asked,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function textOf(content: unknown): string {
  return typeof content === 'string' ? content : JSON.stringify(content);
}

/** What a strict server finds wrong with a request, null for nothing. */
function faultOf(text: string): string | null {
  if (/\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}/i.test(text)) return 'half a surrogate pair';
  let body: { messages?: unknown };
  try {
    body = JSON.parse(text);
  } catch {
    return 'no JSON';
  }
  if (!Array.isArray(body.messages)) return 'no messages';
  const seen = new Set<unknown>();
  let open: unknown[] = [];
  for (const message of body.messages as Message[]) {
    if (message.role === 'tool') {
      if (!open.includes(message.tool_call_id)) return 'a result without its call';
      open = open.filter((id) => id !== message.tool_call_id);
      if (textOf(message.content).trim() === '') return 'a blank result';
      continue;
    }
    if (open.length > 0) return 'a call without its result';
    for (const { id, function: called } of message.tool_calls ?? []) {
      if (typeof id !== 'string' || id === '' || seen.has(id)) return `the id ${JSON.stringify(id)} twice, or none`;
      seen.add(id);
      open.push(id);
      if (!/^[a-zA-Z0-9_-]{1,64}$/.test(String(called.name))) return `the name ${JSON.stringify(called.name)}`;
      if (!isObjectJson(called.arguments)) return `the arguments ${JSON.stringify(called.arguments)}`;
    }
    if ((message.tool_calls ?? []).length === 0 && textOf(message.content ?? '').trim() === '') return `a blank message of ${message.role}`;
  }
  return open.length > 0 ? 'a call without its result' : null;
}

function isObjectJson(text: unknown): boolean {
  if (typeof text !== 'string') return false;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
