import { type Mutant, server } from './mutant.ts';

const turnsTests = [`${server}/core/turns.test.ts`];
const sharesTests = [`${server}/core/shares.test.ts`];
const sandboxTests = [`${server}/tools/sandbox/sandbox.test.ts`];

/** Of waiting in turn: for the sandbox and the like, and for what others hold of a budget. */
export const queueMutants: readonly Mutant[] = [
  {
    bug: 'queue: the last one of a run goes first',
    file: `${server}/core/turns.ts`,
    replace: 'const [ticket] = run?.tickets ?? [];',
    by: 'const ticket = [...(run?.tickets ?? [])].at(-1);',
    tests: turnsTests,
  },
  {
    bug: 'queue: whoever has had a turn stays first',
    file: `${server}/core/turns.ts`,
    replace: '      run.count(0, -1);\n      run.goLast();',
    by: '      run.count(0, -1);',
    tests: turnsTests,
  },
  {
    bug: 'queue: a place is given back twice',
    file: `${server}/core/turns.ts`,
    replace: 'if (given.delete(place)) place.run.count(-1, 0);',
    by: 'place.run.count(-1, 0);',
    tests: turnsTests,
  },
  {
    bug: 'queue: what leaves is still counted',
    file: `${server}/core/turns.ts`,
    replace: '      ticket.run.count(0, -1);\n      return true;',
    by: '      return true;',
    tests: turnsTests,
  },
  {
    bug: 'queue: a place that is given up wakes nobody',
    file: `${server}/core/shares.ts`,
    replace: '        turns.release(place);\n        serve();',
    by: '        turns.release(place);',
    tests: sharesTests,
  },
  {
    bug: 'queue: waiting has no end',
    file: `${server}/core/shares.ts`,
    replace: 'timers.after(maxWaitMs, onTime)',
    by: 'timers.after(maxWaitMs * 1_000, onTime)',
    tests: sharesTests,
  },
  {
    bug: 'queue: a call whose time ends in the queue is told that it was cancelled',
    file: `${server}/core/shares.ts`,
    replace: "signal.reason.code === 'tool_timeout'",
    by: "signal.reason.code === 'deadline_exceeded'",
    tests: sharesTests,
  },
  {
    bug: 'queue: a program whose thread breaks has lost its turn',
    file: `${server}/tools/sandbox/pool.ts`,
    replace: 'end.isBroken !== true ||',
    by: 'end.isBroken === true ||',
    tests: sandboxTests,
  },
  {
    bug: 'queue: what a program waited is its own time',
    file: `${server}/tools/sandbox/sandbox.ts`,
    replace: 'durationMs: clock.monotonic() - startedAt',
    by: 'durationMs: clock.monotonic() - askedAt',
    tests: sandboxTests,
  },
  {
    bug: 'queue: what waits holds its files',
    file: `${server}/tools/sandbox/sandbox.ts`,
    replace: '      entry = await shares.enter(holder, signal);',
    by: "      if (typeof request.files === 'function') await request.files();\n      entry = await shares.enter(holder, signal);",
    tests: sandboxTests,
  },
  {
    bug: 'queue: an engine keeps what the program before left in it',
    file: `${server}/tools/sandbox/engine.ts`,
    replace: '  new Uint8Array(memory.buffer).set(first.memory);\n',
    by: '',
    tests: [`${server}/tools/sandbox/engine.test.ts`],
  },
  {
    bug: 'queue: an engine whose program was stopped serves the next one',
    file: `${server}/tools/sandbox/engine.ts`,
    replace: 'if (isWhole && ready === null',
    by: 'if (ready === null',
    tests: [`${server}/tools/sandbox/engine.test.ts`],
  },
  {
    bug: 'queue: what others hold of a budget is told as used up',
    file: `${server}/calls/refusal.ts`,
    replace: 'return asked > available && asked <= available + reserved;',
    by: 'return asked > available && asked <= available;',
    tests: [`${server}/calls/refusal.test.ts`],
  },
  {
    bug: 'queue: what was spent beyond a limit is told as coming back',
    file: `${server}/ledger/rules.ts`,
    replace: 'Math.min(row.reserved, Math.max(0, limit - row.spent))',
    by: 'row.reserved',
    tests: [`${server}/calls/refusal.test.ts`],
  },
  {
    bug: 'queue: whoever waits for a budget hears of no other process',
    file: `${server}/budget/line.ts`,
    replace: 'if (slow === null || isSlow) give(places[0]);',
    by: 'if (isSlow && slow !== null) give(places[0]);',
    tests: [`${server}/budget/admission.test.ts`],
  },
  {
    bug: 'queue: a large call that can never be granted holds up its line',
    file: `${server}/budget/line.ts`,
    replace: 'else if (at === 0 || turn === place) passOn(at);',
    by: 'else if (turn === place && at !== 0) passOn(at);',
    tests: [`${server}/budget/admission.test.ts`],
  },
];
