import { Worker } from 'node:worker_threads';

/** A provider that says a word each 20 ms for three seconds, and somebody who reads along; on a thread of its own. */
export interface Steady {
  readonly url: string;
  /** Has the agent `steady` talk, and tells how late the latest of nearly all words (95 %) was read: ms. */
  lag(server: string): Promise<number>;
  close(): Promise<unknown>;
}

const program = `
const http = require('node:http');
const { parentPort } = require('node:worker_threads');
const event = (choice) => 'data: ' + JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'words', choices: [{ index: 0, finish_reason: null, ...choice }] }) + '\\n\\n';
const provider = http.createServer((request, response) => {
  request.resume();
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  let words = 0;
  const timer = setInterval(() => {
    if (words++ < 150) return response.write(event({ delta: { content: '@' + Date.now() + ' ' } }));
    clearInterval(timer);
    response.end(event({ delta: {}, finish_reason: 'stop' }) + 'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":150}}\\n\\ndata: [DONE]\\n\\n');
  }, 20);
});
provider.listen(0, '127.0.0.1', () => parentPort.postMessage(provider.address().port));
parentPort.on('message', async (server) => {
  const headers = { 'content-type': 'application/json', accept: 'text/event-stream' };
  const answer = await fetch(server + '/v1/agents/chat/stream', { method: 'POST', headers, body: JSON.stringify({ agent: 'steady', input: 'talk' }) });
  const lags = new Map();
  const decoder = new TextDecoder();
  for await (const chunk of answer.body) {
    const now = Date.now();
    for (const [, at] of decoder.decode(chunk, { stream: true }).matchAll(/@(\\d{13}) /g)) if (!lags.has(at)) lags.set(at, now - Number(at));
  }
  const sorted = [...lags.values()].sort((one, other) => one - other);
  parentPort.postMessage(sorted.length < 100 ? Infinity : sorted[Math.floor(sorted.length * 0.95)]);
});
`;

export async function startSteady(): Promise<Steady> {
  const worker = new Worker(program, { eval: true });
  const next = <T>() => new Promise<T>((resolve) => worker.once('message', resolve));
  const port = await next<number>();
  return {
    url: `http://127.0.0.1:${port}/v1`,
    lag(server) {
      const told = next<number>();
      worker.postMessage(server);
      return told;
    },
    close: () => worker.terminate(),
  };
}
