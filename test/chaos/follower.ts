import { setTimeout as sleep } from 'node:timers/promises';
import type { ChatRequest, WireEvent } from '@nexus-agent/protocol';
import { createTextAssembler } from '../../packages/sdk/src/index.ts';
import type { Chance } from '../../packages/server/src/apps/testing/index.ts';
import { readFrames } from '../support/sse.ts';
import { chanceOf } from './seed.ts';

/** What a client was shown of a run, over however many connections. */
export interface Seen {
  runId: string | null;
  /** JSON of every journal event that arrived, by its number. */
  readonly events: Map<number, string>;
  readonly types: string[];
  /** Faults of the stream itself: gaps, repeats, a text that is not that of the answer. Empty when there is none. */
  readonly faults: string[];
  connections: number;
}

export interface FollowOptions {
  /** Where the run is started; afterwards, and when that fails, any of `urls` serves. */
  readonly first?: string;
  readonly urls: () => readonly string[];
  readonly request: ChatRequest;
  readonly idempotencyKey: string;
  /** Stop after this event instead of the run's end. */
  readonly untilType?: WireEvent['type'];
  readonly timeoutMs?: number;
}

const terminal = new Set<string>(['run.completed', 'run.failed', 'run.cancelled']);

/**
 * Starts a run and follows it as a client does that may lose its server at any time: it posts again under the same
 * idempotency key until it knows the run, then resumes after the last id that it saw, wherever there is a server.
 */
export async function startAndFollow(options: FollowOptions): Promise<Seen> {
  const { request, idempotencyKey, urls, untilType } = options;
  const seen: Seen = { runId: null, events: new Map(), types: [], faults: [], connections: 0 };
  const reader = createReader(seen, untilType);
  const chance = chanceOf(`follows ${idempotencyKey}`);
  const deadline = AbortSignal.timeout(options.timeoutMs ?? 60_000);
  let next = options.first;
  while (!reader.done) {
    if (deadline.aborted) throw new Error(`the run ${seen.runId ?? '(not started)'} did not end; seen: ${seen.types.join(' ')}`);
    const url = next ?? pick(urls(), chance);
    next = undefined;
    if (url === undefined) {
      await sleep(50);
      continue;
    }
    seen.connections += 1;
    try {
      const response = await fetch(
        seen.runId === null ? `${url}/v1/agents/chat/stream` : `${url}/v1/runs/${seen.runId}/events`,
        seen.runId === null
          ? {
              method: 'POST',
              headers: { 'content-type': 'application/json', accept: 'text/event-stream', 'idempotency-key': idempotencyKey },
              body: JSON.stringify(request),
              signal: deadline,
            }
          : {
              headers: { accept: 'text/event-stream', ...(reader.lastId === null ? {} : { 'last-event-id': reader.lastId }) },
              signal: deadline,
            },
      );
      if (!response.ok || response.body === null) {
        const problem = await response.text();
        if (response.status < 500) throw new Refused(`${response.status} ${problem}`);
        await sleep(50);
        continue;
      }
      await reader.read(response.body);
    } catch (error) {
      if (error instanceof Refused) throw error;
      await sleep(20); // the server is gone: the next one
    }
  }
  return seen;
}

class Refused extends Error {}

function pick(urls: readonly string[], chance: Chance): string | undefined {
  return urls.length === 0 ? undefined : chance.pick(urls);
}

function createReader(seen: Seen, untilType: WireEvent['type'] | undefined) {
  const texts = createTextAssembler();
  let lastId: string | null = null;
  let lastSeq = 0;
  let done = false;

  function take(event: WireEvent, raw: string): void {
    try {
      texts.push(event);
    } catch (error) {
      seen.faults.push(String(error));
    }
    if (!('seq' in event)) return;
    if (event.seq !== lastSeq + 1) seen.faults.push(`event ${event.seq} came after ${lastSeq}`);
    lastSeq = event.seq;
    seen.events.set(event.seq, raw);
    seen.types.push(event.type);
    if (event.type === 'model.completed') {
      const text = event.data.content.map((part) => (part.type === 'text' ? part.text : '')).join('');
      if (text !== texts.text)
        seen.faults.push(`the text of ${event.seq} is ${JSON.stringify(text)}, shown was ${JSON.stringify(texts.text)}`);
    }
    if (terminal.has(event.type) || event.type === untilType) done = true;
  }

  return {
    get done() {
      return done;
    },
    get lastId() {
      return lastId;
    },
    async read(body: ReadableStream<Uint8Array>): Promise<void> {
      for await (const frame of readFrames(body)) {
        const event: WireEvent = JSON.parse(frame.data);
        if ('runId' in event) seen.runId ??= event.runId;
        take(event, frame.data);
        if (frame.id !== null) lastId = frame.id;
        if (done) return;
      }
    },
  };
}
