import { afterEach, expect, it } from 'vitest';
import { completed, openTestRuns, type TestRuns } from '#runs/testing';
import { poisonous, setAsideAfter } from './poisonous.ts';

it.each([
  { deaths: 0, diedAlone: false, ends: false },
  { deaths: 2, diedAlone: true, ends: false },
  { deaths: 3, diedAlone: true, ends: true },
  { deaths: 3, diedAlone: false, ends: false },
  { deaths: 9, diedAlone: false, ends: false },
  { deaths: 10, diedAlone: false, ends: true },
  { deaths: 12, diedAlone: true, ends: true },
])('says of $deaths deaths (alone: $diedAlone) that the run ends: $ends [verifies hostile.kill.poisonous]', ({ ends, ...row }) => {
  expect(poisonous(row, 3) !== null).toBe(ends);
  expect(poisonous(row, 20)).toBeNull();
});

it.each([3, 4, 7, 10, 20, 1_000])(
  'ends a run that kills, alone or not, before it is left to lie, where %d deaths are allowed [verifies hostile.kill.poisonous]',
  (maxDeaths) => {
    for (const diedAlone of [true, false]) {
      const tries = Array.from({ length: 3 }, (_, index) => setAsideAfter(maxDeaths) - 1 - index);
      expect(tries.map((deaths) => poisonous({ deaths, diedAlone }, maxDeaths)?.code)).toEqual(['poisonous', 'poisonous', 'poisonous']);
    }
  },
);

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

it('counts a run that was ended instead of driven [verifies hostile.kill.poisonous]', async () => {
  const opened = await openTestRuns({
    wrap: (store) => ({
      claimRuns: async (...given) => (await store.claimRuns(...given)).map((row) => ({ ...row, deaths: 10 })),
    }),
  });
  runs = opened;
  const runId = await opened.enqueue({});
  await opened.until(async () => (await opened.row(runId)).status === 'failed');
  expect((await opened.row(runId)).error).toMatchObject({ code: 'poisonous', details: { deaths: 10 } });
  const { body } = await opened.engine.metrics.scrape();
  expect(body).toContain('nexus_runs_finished_total{status="failed",error_type="poisonous"} 1');
});

it('wakes the run whose sub-agent was ended instead of driven, and tells it', async () => {
  const told: string[] = [];
  const opened = await openTestRuns({
    agents: [{ name: 'parent', subagents: ['child'] }, { name: 'child' }],
    async *attempt({ request }) {
      const last = request.messages.at(-1);
      if (last?.role === 'tool') told.push(JSON.stringify(last.content));
      yield last?.role === 'tool' ? completed('done') : completed({ name: 'agent_child', input: { task: 'think' } });
    },
    wrap: (store) => ({
      claimRuns: async (...given) =>
        (await store.claimRuns(...given)).map((row) => (row.parentRunId === null ? row : { ...row, deaths: 10 })),
    }),
  });
  runs = opened;
  const runId = await opened.start({ agent: 'parent' });
  await opened.until(async () => (await opened.row(runId)).status === 'completed');
  expect(told).toEqual([expect.stringContaining('poisonous')]);
});
