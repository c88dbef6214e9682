import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AttemptGate, AttemptGrant, LanguageModels, ModelPart, ModelRequest } from '../types.ts';

export function makeRequest(text: string, changes: Partial<ModelRequest> = {}): ModelRequest {
  return {
    system: 'You help.',
    messages: [{ role: 'user', content: [{ type: 'text', text }] }],
    tools: [],
    maxOutputTokens: 1_000,
    idempotencyKey: 'key-1',
    ...changes,
  };
}

type Begin = Parameters<AttemptGate['begin']>[0];
type Failed = Parameters<AttemptGate['failed']>[0];

export interface RecordedGate extends AttemptGate {
  /** `begin 1 sim/sim-large`, `failed 1 provider_unavailable`, in order. */
  readonly log: string[];
  readonly begins: Begin[];
  readonly failures: Failed[];
}

/** A gate that writes down what it is asked; by default it grants everything for ten seconds. */
export function recordGate(answer: (attempt: Begin) => AttemptGrant | Promise<AttemptGrant> = () => grant()): RecordedGate {
  const log: string[] = [];
  const begins: Begin[] = [];
  const failures: Failed[] = [];
  return {
    log,
    begins,
    failures,
    async begin(attempt) {
      log.push(`begin ${attempt.attempt} ${attempt.target.provider}/${attempt.target.model}`);
      begins.push(attempt);
      return answer(attempt);
    },
    async failed(attempt) {
      log.push(`failed ${attempt.attempt} ${attempt.error.code}`);
      failures.push(attempt);
    },
  };
}

export function grant(timeoutMs = 10_000, maxOutputTokens = 1_000): AttemptGrant {
  return { type: 'granted', maxOutputTokens, timeoutMs };
}

export interface Collected {
  readonly parts: readonly ModelPart[];
  readonly last: Extract<ModelPart, { type: 'completed' | 'failed' }>;
  readonly text: string;
  readonly reasoning: string;
}

/** Reads a stream to its end and checks that it has exactly one terminal part, the last. */
export async function collect(
  llm: LanguageModels,
  request: ModelRequest,
  options: { readonly models: readonly string[]; readonly gate?: AttemptGate; readonly signal?: AbortSignal },
): Promise<Collected> {
  const { models, gate = recordGate(), signal = new AbortController().signal } = options;
  const targets = await llm.resolve(models);
  const parts: ModelPart[] = [];
  for await (const part of llm.stream(request, { targets, gate, signal })) parts.push(part);
  const terminal = parts.filter((part) => part.type === 'completed' || part.type === 'failed');
  const last = terminal[0];
  if (last === undefined || terminal.length !== 1 || parts.at(-1) !== last)
    throw new Error(`not one terminal part: ${JSON.stringify(parts)}`);
  const deltas = (type: ModelPart['type']) => parts.map((part) => (part.type === type && 'text' in part ? part.text : '')).join('');
  return { parts, last, text: deltas('text.delta'), reasoning: deltas('reasoning.delta') };
}

/** A server on a free loopback port that the test answers for. */
export async function startServer(
  handle: (request: IncomingMessage & { body: string }, response: ServerResponse) => void,
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    handle(Object.assign(request, { body }), response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Waits until the condition holds; fails after a second. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 1_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`did not happen within a second: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
