import { isTerminal, type JournalEvent } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomJournal } from './journals.testkit.ts';
import { initialState, type RunState } from './state.ts';
import { fold, stateHash, transition } from './transitions.ts';

const seeds = fc.integer({ min: 1, max: 2 ** 31 });

describe('the fold of a journal', () => {
  it('is total over every journal that an engine can write, and ends', () => {
    const kinds = new Set<string>();
    fc.assert(
      fc.property(seeds, (seed) => {
        const { events, state } = randomJournal(seed);
        for (const event of events) kinds.add(event.type);
        expect(fold(events)).toEqual(state);
        expect(isTerminal(state.status)).toBe(true);
      }),
      { numRuns: 300 },
    );
    // The journals reach what they are to reach.
    for (const kind of [
      'step.restarted',
      'tool.suspended',
      'approval.decided',
      'run.waiting',
      'model.failed',
      'run.resumed',
      'policy.denied',
      'run.completed',
      'run.failed',
    ])
      expect(kinds).toContain(kind);
  });

  it('gives the same for a prefix and its rest as for the whole', () => {
    fc.assert(
      fc.property(seeds, fc.nat(), (seed, at) => {
        const { events } = randomJournal(seed);
        const cut = at % (events.length + 1);
        expect(fold(events.slice(cut), fold(events.slice(0, cut)))).toEqual(fold(events));
      }),
      { numRuns: 200 },
    );
  });

  it('changes no state that it was given', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        let state: RunState = initialState;
        for (const event of randomJournal(seed).events) state = transition(deepFreeze(state), event);
      }),
      { numRuns: 50 },
    );
  });

  it('gives the model the results in the order of its request, one for each call, whatever order they came in [verifies tools.order]', () => {
    let unordered = 0;
    fc.assert(
      fc.property(seeds, (seed) => {
        const { events, state } = randomJournal(seed);
        const { messages } = state;
        for (const [index, message] of messages.entries()) {
          if (message.role !== 'tool') continue;
          const before = messages[index - 1];
          const asked =
            before?.role === 'assistant' ? before.content.flatMap((part) => (part.type === 'tool_call' ? [part.providerCallId] : [])) : [];
          expect(message.content.map((part) => part.providerCallId)).toEqual(asked);
        }
        const ends = events.filter((event) => event.type === 'tool.completed').map((event) => Number(event.data.output.split(':')[0]));
        if (ends.some((place, index) => index > 0 && place < (ends[index - 1] ?? 0) && place !== 0)) unordered += 1;
      }),
      { numRuns: 200 },
    );
    expect(unordered).toBeGreaterThan(20);
  });

  it('refuses a gap, a repeat, and a result of a call that was never asked for', () => {
    const { events } = randomJournal(7);
    const [first, second, third] = events;
    if (first === undefined || second === undefined || third === undefined) throw new Error('the journal is too short');
    const diverged = expect.objectContaining({ code: 'replay_diverged' });
    expect(() => fold([first, third])).toThrow(diverged);
    expect(() => fold([first, first])).toThrow(diverged);
    const stray: JournalEvent = {
      type: 'tool.completed',
      seq: 2,
      at: 0,
      data: { step: 1, callId: 'call_x', name: 'x', status: 'ok', output: '' },
    };
    expect(() => fold([first, stray])).toThrow(diverged);
    const unknown = { type: 'run.exploded', seq: 2, at: 0, data: {} } as unknown as JournalEvent; // as a newer version might write it
    expect(() => fold([first, unknown])).toThrow(diverged);
  });

  it('keeps its fingerprint over reservations and numbers, and changes it with anything that decides', () => {
    const { state } = randomJournal(11);
    expect(stateHash({ ...state, lastSeq: 999, openReservations: { rsv: { tokens: 1 } } })).toBe(stateHash(state));
    expect(stateHash({ ...state, step: state.step + 1 })).not.toBe(stateHash(state));
    expect(stateHash({ ...state, messages: state.messages.slice(1) })).not.toBe(stateHash(state));
  });
});

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}

describe('a call that waits for calls of its own', () => {
  it('keeps nothing of them once it has been told, and takes none while it runs', () => {
    const seen = { told: 0, kept: 0 };
    fc.assert(
      fc.property(seeds, (seed) => {
        let state: RunState = initialState;
        for (const event of randomJournal(seed).events) {
          state = transition(state, event);
          for (const call of state.calls) {
            if (call.parentCallId === undefined) continue;
            const parent = state.calls.find(({ callId }) => callId === call.parentCallId);
            expect(parent?.phase.type).not.toBe('completed');
            seen.kept += 1;
            if (call.phase.type !== 'completed') expect(parent?.phase.type).toBe('suspended');
          }
          for (const { suspension, callId } of state.calls) {
            const own = state.calls.filter((call) => call.parentCallId === callId && call.phase.type === 'completed');
            expect(suspension?.ended.length ?? 0).toBe(own.length);
            seen.told += own.length;
          }
        }
      }),
      { numRuns: 150 },
    );
    expect(Math.min(seen.told, seen.kept)).toBeGreaterThan(100);
  });

  it('is asked by nobody else', () => {
    const { events } = randomJournal(7);
    const started = events.findIndex(({ type }) => type === 'tool.started');
    const before = fold(events.slice(0, started + 1));
    const [call] = before.calls;
    const data = { step: before.step, callId: 'call_x', index: 1, name: 'tool1', input: {}, parentCallId: call?.callId ?? '' };
    expect(() => transition(before, { type: 'tool.requested', seq: before.lastSeq + 1, at: 0, data })).toThrow(/which waits for none/);
  });
});
