import { type Mutant, server } from './mutant.ts';

const watch = `${server}/storage/program/clock-watch.ts`;
const alone = `${server}/storage/drivers/sqlite-alone.ts`;
const leases = `${server}/storage/tables/leases.ts`;
const steps = [`${server}/storage/program/clock-watch.test.ts`];
const restarts = [`${server}/storage/drivers/sqlite-alone.test.ts`];
const everywhere = ['test/conformance/storage.test.ts'];

export const clockMutants: readonly Mutant[] = [
  {
    bug: 'a clock that is set forward is believed at once',
    file: watch,
    replace: 'else if (seen.atLeast > ahead.atMost + toleranceMs) steppedAt = to;',
    by: '',
    tests: steps,
  },
  {
    bug: 'a slow answer is taken for a clock that was set',
    file: watch,
    replace: 'atLeast: now - to, atMost: now + 1 - from',
    by: 'atLeast: now - to, atMost: now + 1 - to',
    tests: steps,
  },
  {
    bug: 'processes that share a file are taken for dead when another opens it',
    file: alone,
    replace: 'pragma locking_mode = exclusive; begin exclusive',
    by: 'begin immediate',
    tests: restarts,
  },
  {
    bug: 'what was due waits for a clock that was set back',
    file: alone,
    replace: 'seen > nowMs',
    by: 'seen < 0',
    tests: restarts,
  },
  {
    bug: 'who lives is taken for dead by a clock that was just set',
    file: leases,
    replace: "                where('workers.lease_ms', '>', params.steadyMs),\n",
    by: '',
    tests: everywhere,
  },
];
