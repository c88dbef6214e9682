import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { realTokenizers } from '../support/tokenizers.ts';

/** Whole micro-USD per million tokens. */
export const billedPrice = { inputMicroUsdPerMillion: 3_000_000, outputMicroUsdPerMillion: 15_000_000 };

/** What a provider does with a request besides answering it. What it generates it bills, whoever hears of it. */
const manners = [
  'honest',
  'honest',
  'honest',
  'no usage',
  'usage of zero',
  'negative usage',
  'usage as text',
  'usage of the first token',
  'usage in the middle',
  'usage of each token',
  'usage that shrinks',
  'thinking in the total alone',
  'begins and has no room',
  'goes on beyond the limit',
  'cut',
  'malformed',
  'stalls',
  'works and fails',
  'a proxy gives up',
  'refuses',
  'has no room',
  'json',
  'json without usage',
  'thinks unseen',
  'thinks unseen and is cut',
] as const;
type Manner = (typeof manners)[number];

export interface Bill {
  readonly manner: Manner;
  readonly maxTokens: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
}

export interface Biller {
  readonly url: string;
  readonly bills: readonly Bill[];
  close(): Promise<void>;
}

/** Each is one token of every vocabulary in use. */
const words = [' the', ' of', ' and', ' to', ' in', ' is', ' that', ' for', ' it', ' with'];
/** Written, and not sent any more when a stream breaks. */
const unsentTokens = 12;

/**
 * A provider of two wire formats that bills by real tokenizers: what it read and what it generated, also where it says
 * otherwise, fails, or is left. It generates until the limit, or the end of the connection.
 */
export async function startBiller(random: () => number): Promise<Biller> {
  const bills: Bill[] = [];
  const server = createServer(async (request, response) => {
    response.on('error', () => undefined);
    try {
      await answer(request, response);
    } catch {
      response.destroy();
    }
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += String(chunk);
    const body = JSON.parse(text);
    const path = request.url ?? '';
    if (path.endsWith('/count_tokens') || path.endsWith('/tokenize')) {
      // Counts cost nothing, and are given half of the time.
      response.writeHead(random() < 0.5 ? 200 : 500, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify(
          path.endsWith('/tokenize') ? { count: countInput(body, 'o200k_base') } : { input_tokens: countInput(body, 'claude 2') },
        ),
      );
      return;
    }
    const wire = path.endsWith('/messages') ? anthropic : openAi;
    const maxTokens: number = body.max_tokens ?? body.max_completion_tokens;
    const inputTokens = countInput(body, wire === openAi ? 'o200k_base' : 'claude 2');
    const manner = pick(
      random,
      manners.filter((name) => wire === openAi || !(thinksFirst(name) || name === 'usage of each token')),
    );
    let outputTokens = 0;
    const billed = () => bills.push({ manner, maxTokens, inputTokens, outputTokens });
    const generate = () => {
      outputTokens += 1;
      return pick(random, words);
    };
    const wanted = Math.min(maxTokens, 5 + Math.floor(random() * 150));
    const fail = (status: number, contentType: string, said: string, headers = {}) => {
      response.writeHead(status, { 'content-type': contentType, ...headers });
      response.end(said);
    };

    switch (manner) {
      case 'refuses':
        return fail(429, 'application/json', JSON.stringify({ error: { message: 'slow down', type: 'rate_limit_error' } }), {
          'retry-after-ms': '5',
        });
      case 'has no room':
        return fail(503, 'application/json', JSON.stringify({ error: { message: 'overloaded', type: 'overloaded_error' } }));
      case 'works and fails':
      case 'a proxy gives up':
        for (let token = 0; token < wanted; token++) generate();
        billed();
        return manner === 'works and fails'
          ? fail(500, 'application/json', '{"error":{"message":"oh"}}')
          : fail(504, 'text/html', '<html>');
      case 'json':
      case 'json without usage': {
        let said = '';
        for (let token = 0; token < wanted; token++) said += generate();
        billed();
        const usage = manner === 'json' ? { inputTokens, outputTokens } : null;
        return fail(200, 'application/json', JSON.stringify(wire.whole(said, usage, wanted === maxTokens)));
      }
    }

    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const send = (...events: readonly unknown[]) => {
      for (const event of events) response.write(`data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`);
    };
    const accounts = manner === 'no usage' ? null : inputTokens;
    send(...wire.begin(accounts));
    if (thinksFirst(manner)) for (let token = 0; token < maxTokens - wanted; token++) generate();
    if (manner === 'begins and has no room') {
      send({ error: { message: 'slow down', type: 'rate_limit_error' } });
      response.end();
      return void billed();
    }
    const most = manner === 'goes on beyond the limit' ? maxTokens + 1_000 : thinksFirst(manner) ? maxTokens : wanted;
    const breaksAt = ['cut', 'malformed', 'stalls', 'thinks unseen and is cut'].includes(manner)
      ? outputTokens + Math.floor(wanted / 2)
      : most;
    while (outputTokens < Math.min(most, breaksAt) && !response.destroyed) {
      send(wire.piece(generate(), manner === 'usage of each token' ? { inputTokens, outputTokens: 1 } : null));
      if (manner === 'usage in the middle' && outputTokens === Math.ceil(wanted / 2)) send(wire.told({ inputTokens, outputTokens }));
      if (manner === 'usage that shrinks' && outputTokens === wanted) send(wire.told({ inputTokens, outputTokens }));
      // A token at a time, so that whoever leaves is heard; beyond the limit as slowly as a model.
      if (outputTokens % 8 === 0 || outputTokens >= maxTokens) await sleep(outputTokens >= maxTokens ? 3 : 0);
    }
    if (response.destroyed) return void billed();
    if (breaksAt < most) {
      if (manner === 'stalls') {
        await new Promise((resolve) => response.once('close', resolve));
      } else {
        for (let token = 0; token < unsentTokens && outputTokens < maxTokens; token++) generate();
        if (manner === 'malformed') send('{"choices": [{"delta": ');
        response.destroy();
      }
      return void billed();
    }
    billed();
    const usages = {
      'no usage': null,
      'usage of zero': { inputTokens: 0, outputTokens: 0 },
      'negative usage': { inputTokens: -inputTokens, outputTokens: -outputTokens },
      'usage as text': { inputTokens: `${inputTokens}`, outputTokens: `${outputTokens}` },
      'usage of the first token': { inputTokens, outputTokens: 1 },
      'usage in the middle': null,
      'usage of each token': null,
      'usage that shrinks': { inputTokens: 10, outputTokens: 1 },
      // What was sent is all that is said to be the completion.
      'thinking in the total alone': { inputTokens, outputTokens: wanted, totalTokens: inputTokens + outputTokens },
    };
    const said = manner in usages ? usages[manner as keyof typeof usages] : { inputTokens, outputTokens };
    send(...wire.end(said, outputTokens >= maxTokens));
    response.end();
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    bills,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

type Said = { readonly inputTokens: unknown; readonly outputTokens: unknown; readonly totalTokens?: number } | null;

/** Most of its tokens nobody sees. */
function thinksFirst(manner: Manner): boolean {
  return manner.startsWith('think') || manner === 'begins and has no room';
}

const openAiUsage = (said: Said) =>
  said === null ? {} : { usage: { prompt_tokens: said.inputTokens, completion_tokens: said.outputTokens, total_tokens: said.totalTokens } };
const openAi = {
  begin: () => [{ choices: [{ index: 0, delta: { role: 'assistant' } }] }],
  piece: (text: string, said: Said) => ({ choices: [{ index: 0, delta: { content: text } }], ...openAiUsage(said) }),
  told: (said: Said) => ({ choices: [], ...openAiUsage(said) }),
  end: (said: Said, full: boolean) => [
    { choices: [{ index: 0, delta: {}, finish_reason: full ? 'length' : 'stop' }] },
    ...(said === null ? [] : [{ choices: [], ...openAiUsage(said) }]),
    '[DONE]',
  ],
  whole: (text: string, said: Said, full: boolean) => ({
    choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: full ? 'length' : 'stop' }],
    ...openAiUsage(said),
  }),
};

const anthropicUsage = (said: Said) =>
  said === null ? {} : { usage: { input_tokens: said.inputTokens, output_tokens: said.outputTokens } };
const anthropic = {
  begin: (inputTokens: number | null) => [
    { type: 'message_start', message: inputTokens === null ? {} : { usage: { input_tokens: inputTokens, output_tokens: 1 } } },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
  ],
  piece: (text: string, _said: Said) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } }),
  told: (said: Said) => ({ type: 'message_delta', delta: {}, ...anthropicUsage(said) }),
  end: (said: Said, full: boolean) => [
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: full ? 'max_tokens' : 'end_turn' }, ...anthropicUsage(said) },
    { type: 'message_stop' },
  ],
  whole: (text: string, said: Said, full: boolean) => ({
    type: 'message',
    role: 'assistant',
    content: [{ type: 'text', text }],
    stop_reason: full ? 'max_tokens' : 'end_turn',
    ...anthropicUsage(said),
  }),
};

/** What a template makes of a request, counted: marks around each message, and tools as JSON on many lines. */
function countInput(body: Record<string, unknown>, vocabulary: string): number {
  const count = realTokenizers[vocabulary] ?? (() => Number.NaN);
  const texts = [JSON.stringify(body.system ?? ''), ...(body.messages as { content: unknown }[]).map(({ content }) => textOf(content))];
  const tools = body.tools === undefined ? 0 : count(JSON.stringify(body.tools, null, 4)) + 300;
  return texts.reduce((sum, text) => sum + count(text) + 5, 8) + tools;
}

function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  return Array.isArray(content) ? content.map((part) => String(part.text ?? JSON.stringify(part))).join('') : '';
}

function pick<T>(random: () => number, from: readonly T[]): T {
  const found = from[Math.floor(random() * from.length)];
  if (found === undefined) throw new Error('there is nothing to pick from');
  return found;
}

export function billedMicroUsd({ inputTokens, outputTokens }: Pick<Bill, 'inputTokens' | 'outputTokens'>): number {
  return (inputTokens * billedPrice.inputMicroUsdPerMillion + outputTokens * billedPrice.outputMicroUsdPerMillion) / 1_000_000;
}
