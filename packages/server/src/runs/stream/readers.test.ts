import type { RunId, TenantId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { openBus } from '#bus/drivers';
import { createManualTime } from '#core/testing';
import type { StoredEvent } from '#storage';
import { follow } from './follow.ts';
import { createStreamHub } from './hub.ts';
import { streamSettings } from './settings.testkit.ts';
import type { StreamCursor, StreamFrame } from './types.ts';

const tenantId = 't' as TenantId;
const runId = 'run_1' as RunId; // a name is enough

/** A run that is driven here, with readers that take what they are given when the test says. */
async function createStage(coalesceMs: number) {
  const time = createManualTime();
  const hub = createStreamHub({
    bus: await openBus({ kind: 'memory', onError: () => undefined }),
    ...time,
    settings: { ...streamSettings, coalesceMs, tailEvents: 3 },
  });
  const log: StoredEvent[] = [];
  let reads = 0;
  const readEvents = async (_t: string, _r: string, { after, limit }: { after: number; limit: number }) => {
    reads += 1;
    return log.filter(({ seq }) => seq > after).slice(0, limit);
  };
  const store = {
    readEvents,
    readEventsWithin: async (...question: Parameters<typeof readEvents>) =>
      (await readEvents(...question)).map((event) => ({ ...event, chars: event.data.length })),
    readEventData: async () => null,
    lastSeqOf: async () => {
      reads += 1;
      return log.length;
    },
  };
  const local = hub.openLocal(`${tenantId}/${runId}`);
  const append = (type: StoredEvent['type'], data: object = {}) => {
    const event = { seq: log.length + 1, type, at: 0, data: JSON.stringify(data) };
    log.push(event);
    local.appended([event]);
    return event.seq;
  };
  /** Another process goes on with the run, and nobody here hears of it. */
  const appendUnheard = (type: StoredEvent['type']) => log.push({ seq: log.length + 1, type, at: 0, data: '{}' });
  function read(cursor: StreamCursor = { seq: 0, offset: 0 }) {
    const inLog = async () => {
      reads += 1;
      return { lastSeq: log.length, ended: false };
    };
    return follow({ engine: { store, hub, ...time }, tenantId, runId, cursor, signal: new AbortController().signal, inLog });
  }
  return { time, hub, local, append, appendUnheard, read, reads: () => reads };
}

/** What a reader holds of the log, and of the text of each call by the number of the event that began it. */
function held(frames: readonly StreamFrame[]) {
  const texts: Record<string, string> = {};
  const events: number[] = [];
  for (const { id, event, data } of frames) {
    const [seq = ''] = (id ?? '').split('.');
    if (event === 'model.delta') {
      const delta = (JSON.parse(data) as { data: { offset: number; text: string } }).data; // written by this room
      expect(delta.offset).toBe((texts[seq] ?? '').length);
      texts[seq] = (texts[seq] ?? '') + delta.text;
    } else if (event !== 'tool.output') events.push(Number(id));
  }
  return { events, texts };
}

it('gives all readers of a run each event and each letter once, however fast each of them is [verifies stream.slow-reader]', async () => {
  const action = fc.oneof(
    { weight: 4, arbitrary: fc.record({ type: fc.constant('say' as const), text: fc.string({ minLength: 1, maxLength: 5 }) }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constantFrom('event' as const, 'turn' as const, 'output' as const) }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('pause' as const), ms: fc.nat(60) }) },
    { weight: 6, arbitrary: fc.record({ type: fc.constant('take' as const), reader: fc.nat(3) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 60 }), fc.constantFrom(0, 25), async (actions, coalesceMs) => {
      const { time, hub, local, append, read } = await createStage(coalesceMs);
      const readers = Array.from({ length: 4 }, () => ({ batches: read(), frames: [] as StreamFrame[], taking: Promise.resolve() }));
      const take = (reader: (typeof readers)[number]) => {
        reader.taking = reader.taking.then(async () => void reader.frames.push(...((await reader.batches.next()).value ?? [])));
      };
      const texts: Record<string, string> = {};
      /** Number of the event that began the call that streams. */
      let call = 0;
      const turn = () => {
        if (call === 0) {
          call = append('model.started', { step: 1 });
          local.begin({ seq: call, step: 1, callId: 'c' });
          return;
        }
        local.flush();
        append('model.completed', { step: 1, callId: 'c', content: [{ type: 'text', text: texts[call] ?? '' }] });
        call = 0;
      };
      append('run.started');
      for (const act of actions) {
        if (act.type === 'turn') turn();
        else if (act.type === 'say' && call > 0) {
          texts[call] = (texts[call] ?? '') + act.text;
          local.delta('text', act.text);
        } else if (act.type === 'event' && call === 0) append('tool.started');
        else if (act.type === 'output') local.output({ step: 1, callId: 'c', text: 'so far' });
        else if (act.type === 'pause') await time.advance(act.ms);
        else if (act.type === 'take') for (const reader of readers.slice(act.reader)) take(reader);
      }
      if (call > 0) turn();
      const last = append('run.completed');
      local.close();
      for (const reader of readers) {
        await reader.taking;
        for await (const frames of reader.batches) reader.frames.push(...frames);
        expect(held(reader.frames)).toEqual({ events: Array.from({ length: last }, (_, index) => index + 1), texts });
      }
      expect(hub.followers).toBe(0);
      hub.close();
    }),
    { numRuns: 200 },
  );
});

it('makes a batch once for all readers at one place, and asks the store nothing for any of them', async () => {
  const { time, hub, local, append, read, reads } = await createStage(0);
  append('run.started');
  const seq = append('model.started', { step: 1 });
  local.begin({ seq, step: 1, callId: 'c' });
  const readers = Array.from({ length: 3 }, () => read());
  const next = () => Promise.all(readers.map(async (batches) => (await batches.next()).value));
  await next();
  const before = reads();
  expect(before).toBe(0);
  const news = next();
  local.delta('text', 'hello');
  const [first, ...others] = await news;
  expect(first).toHaveLength(1);
  for (const other of others) expect(other).toBe(first);
  expect(reads()).toBe(before);
  // They look by themselves, find nothing, and hear of what comes then.
  const later = next();
  await time.advance(hub.settings.localPollMs);
  local.delta('text', ' again');
  for (const frames of await later) expect(frames).toMatchObject([{ id: `${seq}.11` }]);
  const end = next();
  append('model.completed', { step: 1, callId: 'c', content: [{ type: 'text', text: 'hello again' }] });
  append('run.completed');
  local.close();
  for (const frames of await end) expect(frames).toHaveLength(2);
  expect(await next()).toEqual([undefined, undefined, undefined]);
  expect(reads()).toBe(before);
  hub.close();
});

it('goes on behind an end that was written here for a reader who comes after another process has taken the run up again', async () => {
  const { hub, local, append, appendUnheard, read } = await createStage(0);
  append('run.started');
  const early = read();
  await early.next();
  append('run.failed');
  local.close();
  appendUnheard('run.resumed');
  const late = read();
  expect((await late.next()).value).toHaveLength(2);
  expect((await late.next()).value).toMatchObject([{ event: 'run.resumed' }]);
  await late.return(undefined);
  // Whoever was there before sees the end as it was.
  expect((await early.next()).value).toMatchObject([{ event: 'run.failed' }]);
  expect(await early.next()).toMatchObject({ done: true });
  hub.close();
});
