import type { RunId, TenantId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { openBus } from '#bus/drivers';
import { systemClock, systemTimers } from '#core';
import type { SizedEvent, StoredEvent } from '#storage';
import { follow } from './follow.ts';
import { createStreamHub, type StreamHub } from './hub.ts';
import { readPage } from './long-event.ts';
import { streamSettings } from './settings.testkit.ts';

const tenantId = 't' as TenantId;
const runId = 'run_x' as RunId;
const open: StreamHub[] = [];
afterEach(() => {
  for (const hub of open.splice(0)) hub.close();
});

/** The longest text that a reader of the log was given at once. */
async function read(log: readonly StoredEvent[], batchChars: number) {
  const bus = await openBus({ kind: 'memory', onError: () => undefined });
  const hub = createStreamHub({ bus, clock: systemClock, timers: systemTimers, settings: { ...streamSettings, batchChars } });
  open.push(hub);
  const store = {
    readEvents: async (_t: string, _r: string, { after, limit }: { after: number; limit: number }) =>
      log.filter(({ seq }) => seq > after).slice(0, limit),
    lastSeqOf: async () => null,
    readEventsWithin: async (_t: string, _r: string, { after, maxChars }: { after: number; maxChars: number }) => {
      const events: SizedEvent[] = [];
      let chars = 0;
      for (const event of log) {
        if (event.seq <= after || chars >= maxChars) continue;
        chars += event.data.length;
        events.push({ ...event, chars: event.data.length, data: event.data.length > maxChars ? '' : event.data });
      }
      return events;
    },
    readEventData: async (_t: string, _r: string, { seq, from, chars }: { seq: number; from: number; chars: number }) =>
      log.find((event) => event.seq === seq)?.data.slice(from, from + chars) ?? null,
  };
  const engine = { store, hub, clock: systemClock, timers: systemTimers };
  const frames: { event: string; id: string | null; data: string }[] = [];
  let longest = 0;
  const signal = new AbortController().signal;
  for await (const batch of follow({
    engine,
    tenantId,
    runId,
    cursor: { seq: 0, offset: 0 },
    signal,
    inLog: async () => ({ lastSeq: 0, ended: true }),
  })) {
    longest = Math.max(
      longest,
      batch.reduce((sum, frame) => sum + frame.data.length, 0),
    );
    for (const { id, event, data, rest } of batch) {
      let whole = data;
      for await (const piece of rest?.() ?? []) {
        longest = Math.max(longest, piece.length);
        whole += piece;
      }
      frames.push({ id, event, data: whole });
    }
  }
  return { frames, longest };
}

const say = (seq: number, type: StoredEvent['type'], data: object): StoredEvent => ({ seq, type, at: 0, data: JSON.stringify(data) });
const text = 'a quoted "word" and a pair \u{1f600} '.repeat(20_000);
const answer = { step: 1, callId: 'c', content: [{ type: 'text', text }] };

it('gives a reader long events and long texts in pieces, and every one of them whole [verifies hostile.provider.readers]', async () => {
  const log = [
    say(1, 'run.created', { input: 'x'.repeat(1_000_000) }),
    say(2, 'model.started', { step: 1 }),
    say(3, 'model.completed', answer),
    ...Array.from({ length: 300 }, (_, index) => say(4 + index, 'tool.output' as StoredEvent['type'], { text: 'y'.repeat(20_000) })),
    say(304, 'run.completed', {}),
  ];
  const { frames, longest } = await read(log, 64_000);
  expect(longest).toBeLessThan(200_000);
  const told = frames.filter(({ event }) => event !== 'model.delta');
  expect(told.map(({ id }) => Number(id))).toEqual(log.map(({ seq }) => seq));
  for (const [index, { data }] of told.entries()) expect(JSON.parse(data).data).toEqual(JSON.parse(log[index]?.data ?? ''));
  const deltas = frames.filter(({ event }) => event === 'model.delta').map(({ data }) => JSON.parse(data).data);
  expect(deltas.map((delta) => delta.text).join('') === text).toBe(true);
  expect(deltas.every((delta) => delta.text.isWellFormed())).toBe(true);
});

it('reads pages of a run that has long events one at a time, and gives others their turn between', async () => {
  const log = { seq: 1, type: 'run.created', at: 0, data: '', chars: 10_000 } as SizedEvent;
  const order: string[] = [];
  const store = {
    async readEventsWithin() {
      order.push('page');
      return [log];
    },
  };
  const timers = {
    async soon() {
      order.push('turn');
    },
  };
  const page = () => readPage({ store, timers, tenantId, runId, range: { after: 0, limit: 10, maxChars: 100 } });
  await page(); // it shows that the run is such a one
  await Promise.all([page(), page(), page()]);
  expect(order.slice(0, 6)).toEqual(['page', 'page', 'turn', 'page', 'turn', 'page']);
});
