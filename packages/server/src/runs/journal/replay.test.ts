import { type JournalEvent, RunId, type SessionId, TenantId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createIdSource, systemClock, systemTimers } from '#core';
import { runsConfig } from '#runs/config';
import { createStreamHub, follow } from '#runs/stream';
import type { RunRow, SizedEvent, Store, StoredEvent } from '#storage';
import { forkEvents } from './fork.ts';
import { dice, randomJournal, testLimits } from './journals.testkit.ts';
import { nextAction } from './next-action.ts';
import { replayRun } from './replay.ts';
import { emptyTotals, initialState } from './state.ts';
import { fold, foldNew } from './transitions.ts';

const tenantId = TenantId.parse('default');
const ids = createIdSource(systemClock);
const runId = RunId.parse(ids.next('run'));
const seeds = fc.integer({ min: 1, max: 2 ** 31 });

function stored(events: readonly JournalEvent[]): StoredEvent[] {
  return events.map(({ seq, type, at, data }) => ({ seq, type, at, data: JSON.stringify(data) }));
}

/** The part of a store that readers of a journal need. */
function journalStore(events: readonly StoredEvent[], onRead: () => void = () => undefined): Store {
  const reader: Pick<Store, 'readEvents' | 'readEventsWithin'> = {
    async readEventsWithin(_tenant, _run, { after, limit, maxChars }) {
      onRead();
      const page: SizedEvent[] = [];
      let chars = 0;
      for (const event of events.filter(({ seq }) => seq > after).slice(0, limit)) {
        chars += event.data.length;
        if (page.length > 0 && chars > maxChars) break;
        page.push({ ...event, chars: event.data.length });
      }
      return page;
    },
    async readEvents(_tenant, _run, { after, limit }) {
      onRead();
      return events.filter((event) => event.seq > after).slice(0, limit);
    },
  };
  return reader as Store; // the readers under test call nothing else
}

function rowOf(events: readonly JournalEvent[]): RunRow {
  const state = fold(events);
  return {
    tenantId,
    runId,
    sessionId: ids.next<SessionId>('session'),
    agent: 'a',
    agentVersion: 'v',
    model: null,
    parentRunId: null,
    status: state.status,
    waiting: null,
    step: state.step,
    lastSeq: events.length,
    totals: emptyTotals,
    output: state.output,
    error: null,
    resumable: false,
    epoch: 1,
    leaseOwner: null,
    dueAt: null,
    cancelRequested: null,
    budget: null,
    traceId: null,
    user: null,
    project: null,
    createdAt: 0,
    updatedAt: 0,
  };
}

const replay = (events: readonly JournalEvent[], row = rowOf(events)) => replayRun(journalStore(stored(events)), tenantId, row);

describe('replay', () => {
  it('matches for every journal that was written by the rules [verifies durability.replay.same-state]', async () => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const { events } = randomJournal(seed);
        expect(await replay(events)).toMatchObject({ matches: true, events: events.length });
      }),
      { numRuns: 100 },
    );
  });

  it('names the first event that does not fit: a changed text, a changed total, a missing or strange event', async () => {
    const journal = Array.from({ length: 40 }, (_, seed) => randomJournal(seed + 1)).find(
      ({ state, events }) =>
        state.status === 'completed' &&
        events.filter((event) => event.type === 'tool.completed').length > 2 &&
        !events.some((event) => event.type === 'run.failed'),
    );
    if (journal === undefined) throw new Error('no journal of that kind');
    const { events } = journal;
    const last = events.length;
    const row = rowOf(events);
    const change = (pick: (event: JournalEvent) => boolean, edit: (event: JournalEvent) => unknown) => {
      const at = events.findIndex(pick);
      return events.map((event, index) => (index === at ? { ...event, data: edit(event) } : event)) as JournalEvent[]; // a forger's events
    };
    const text = change(
      (event) => event.type === 'tool.completed',
      (event) => ({ ...event.data, output: 'forged' }),
    );
    expect(await replay(text, row)).toMatchObject({ matches: false, divergedAtSeq: last });
    const cost = change(
      (event) => event.type === 'budget.settled',
      (event) => ({ ...event.data, amounts: { costMicroUsd: 1_000_000 } }),
    );
    expect(await replay(cost, row)).toMatchObject({ matches: false, divergedAtSeq: last });

    const gone = events.findIndex((event) => event.type === 'tool.completed');
    expect(
      await replay(
        events.filter((_, index) => index !== gone),
        row,
      ),
    ).toMatchObject({ matches: false, divergedAtSeq: gone + 2 });
    const again = events.findIndex((event) => event.type === 'tool.started');
    const doubled = [...events.slice(0, again + 1), ...events.slice(again)].map((event, index) => ({ ...event, seq: index + 1 }));
    expect(await replay(doubled, { ...row, lastSeq: doubled.length })).toMatchObject({ matches: false, divergedAtSeq: again + 2 });
    expect(await replay(events, { ...row, output: 'forged' })).toMatchObject({ matches: false, divergedAtSeq: last });
    expect(await replay(events, { ...row, status: 'cancelled' })).toMatchObject({ matches: false });
  });
});

describe('fork points', () => {
  it('lie before model calls, and the copy is in the state that the original was in [verifies durability.fork]', () => {
    fc.assert(
      fc.property(seeds, fc.nat(), (seed, pick) => {
        const { events } = randomJournal(seed);
        const [first] = events;
        if (first?.type !== 'run.created') throw new Error('a journal begins with run.created');
        const points: number[] = [];
        for (const { seq } of events) {
          try {
            forkEvents(events, seq);
            points.push(seq);
          } catch {
            // nothing can begin here
          }
        }
        expect(points[0]).toBe(1);
        const seq = points[pick % points.length] ?? 1;
        const forked = foldNew(initialState, [{ type: 'run.created', data: first.data }, ...forkEvents(events, seq).events]);
        const original = fold(events.slice(0, seq));
        expect(forked.messages).toEqual(original.messages);
        expect(forked.step).toBe(original.step);
        expect(forked.status).toBe('queued');
        expect(['model', 'fail']).toContain(nextAction(forked, testLimits, new Set()).type);
        expect(forkEvents(events, undefined).afterSeq).toBe(points.at(-1));
      }),
      { numRuns: 60 },
    );
  });
});

describe('a reader of the log', () => {
  const closed = { subscribe: () => () => undefined, publish: () => undefined, close: async () => undefined, spansProcesses: false };

  async function read(events: readonly StoredEvent[], seq: number, onRead?: () => void) {
    const hub = createStreamHub({
      bus: closed,
      clock: systemClock,
      timers: systemTimers,
      settings: { ...runsConfig.runs.parse({}).stream, coalesceMs: 0 },
    });
    const signal = new AbortController().signal;
    const options = {
      engine: { store: journalStore(events, onRead), hub, clock: systemClock, timers: systemTimers },
      tenantId,
      runId,
      cursor: { seq, offset: 0 },
      signal,
      inLog: async () => ({ lastSeq: 0, ended: true }),
    };
    return { batches: follow(options), hub };
  }

  it('is given every event once from any place on, and ends', async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.nat(), async (seed, at) => {
        const events = stored(randomJournal(seed).events);
        const from = at % (events.length + 1);
        const seen: string[] = [];
        const { batches, hub } = await read(events, from);
        for await (const batch of batches) for (const frame of batch) if (frame.event !== 'model.delta') seen.push(frame.id ?? '');
        expect(seen).toEqual(events.slice(from).map((event) => String(event.seq)));
        expect(hub.followers).toBe(0);
        hub.close();
      }),
      { numRuns: 40 },
    );
  });

  it('is given no more than one bounded batch until it asks again [verifies stream.slow-reader]', async () => {
    const chance = dice(3);
    const events: StoredEvent[] = Array.from({ length: 600 }, (_, index) => ({
      seq: index + 1,
      type: index === 599 ? 'run.completed' : 'tool.completed',
      at: 0,
      data: JSON.stringify('x'.repeat(chance(60_000))),
    }));
    let reads = 0;
    const { batches, hub } = await read(events, 0, () => {
      reads += 1;
    });
    const iterator = batches[Symbol.asyncIterator]();
    let seen = 0;
    for (let step = await iterator.next(); step.done !== true; step = await iterator.next()) {
      const before = reads;
      seen += step.value.length;
      expect(step.value.reduce((sum, frame) => sum + frame.data.length, 0)).toBeLessThan(256_000 + 60_200 + step.value.length * 200);
      await new Promise((resolve) => setImmediate(resolve));
      expect(reads).toBe(before);
    }
    expect(seen).toBe(600);
    hub.close();
  });
});
