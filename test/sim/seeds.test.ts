import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadSimulation } from '../../packages/server/src/apps/index.ts';
import { howMany } from '../support/how-many.ts';
import { verifies } from '../support/verifies.ts';

const { makePlan, parsePlan, runCampaign, shrinkPlan, smallestFailure, tellSimulation } = await loadSimulation();
const seeds = howMany('NEXUS_TEST_SEEDS', 12);
// Of a few, each thread would take longer to start than it saves.
const jobs = seeds > 50 ? availableParallelism() : 1;
const signal = new AbortController().signal;

describe('a simulated cluster', () => {
  it(`keeps its promises under faults, from ${seeds} seeds ${verifies('sim.holds')}`, { timeout: 20_000 + seeds * 3_000 }, async () => {
    const failed = new AbortController();
    const { failures, simulations } = await runCampaign({
      ...{ from: 1, count: seeds, twice: false, jobs, signal: failed.signal },
      // The first is enough to look at: nexus sim --seed N --trace.
      onProgress: (sum) => sum.failures.length > 0 && failed.abort(),
    });
    expect(failures).toEqual([]);
    expect(simulations).toBe(seeds);
  });

  it(`is the same to the last byte when it is run again ${verifies('sim.deterministic')}`, { timeout: 120_000 }, async () => {
    const sum = await runCampaign({ from: 9_001, count: 4, twice: true, jobs: 1, signal });
    expect(sum.failures).toEqual([]);
    expect(sum.simulations).toBe(4);
    const [once, again] = [await tellSimulation(makePlan('7')), await tellSimulation(makePlan('7'))];
    expect(again.timeline).toBe(once.timeline);
    expect(again.outcome.digest).toBe(once.outcome.digest);
    const other = await tellSimulation(makePlan('8'));
    expect(other.outcome.digest).not.toBe(once.outcome.digest);
  });

  it('really has faults in it, work, and nodes that die', async () => {
    const { outcome, timeline } = await tellSimulation(makePlan('4'));
    expect(outcome.violation).toBeNull();
    expect(outcome.runs).toBeGreaterThan(5);
    expect(timeline).toMatch(/^ *time n0 +n1 +n2/);
    for (const said of [
      'n2 is killed, and starts again after 4.552 s',
      'operator: forbids the tool put',
      'crashes',
      'store: the answer to a change is lost',
      'is ready',
      'pay of call_',
      'all is calm from now on',
    ])
      expect(timeline).toContain(said);
  });
});

describe('plans that broke something once', () => {
  const folder = join(import.meta.dirname, 'kept');
  it.each(readdirSync(folder))(`%s breaks nothing any more ${verifies('sim.kept')}`, { timeout: 60_000 }, async (name) => {
    const { outcome } = await tellSimulation(parsePlan(readFileSync(join(folder, name), 'utf8')));
    expect(outcome.violation).toBeNull();
  });

  it('are read with care', () => {
    expect(() => parsePlan('{')).toThrow('a plan is JSON');
    expect(() => parsePlan('{"seed":"1"}')).toThrow(/^plan: /);
  });

  it.each([
    ['lasts for ever', { calmAt: 1e300 }, 'calmAt'],
    ['is calm when nobody waits any more', { calmAt: 3_600_001 }, 'calmAt'],
    ['has people who take longer than it lasts', { answerMs: 1_000_001 }, 'answerMs'],
    ['looks at its queue all the time', { settings: { leaseMs: 3_000, heartbeatMs: 500, pollMs: 0 } }, 'settings.pollMs'],
    ['has leases that nobody can renew', { settings: { leaseMs: 500, heartbeatMs: 500, pollMs: 500 } }, 'settings.heartbeatMs'],
    ['takes no end of time for everything', { pace: 1e300 }, 'pace'],
    ['begins at no time', { beginsAt: 9e15 }, 'beginsAt'],
    ['sets clocks to no time', { faults: [{ at: 1, kind: 'leap', byMs: 1e18 }] }, 'faults[0].byMs'],
    ['prints lines of its own', { seed: '7\n1 simulations from seed 7: nothing failed' }, 'seed'],
  ])('of somebody else that %s is none', (_, change, field) => {
    expect(() => parsePlan(JSON.stringify({ ...makePlan('7'), ...change }))).toThrow(`plan: ${field}`);
  });

  it('are made so that they can be read', () => {
    for (let seed = 1; seed <= 300; seed++) expect(parsePlan(JSON.stringify(makePlan(String(seed))))).toEqual(makePlan(String(seed)));
  });
});

describe('a plan that fails', () => {
  it(`shrinks to what it takes to fail ${verifies('sim.shrinks')}`, async () => {
    const plan = makePlan('4');
    const crash = plan.faults.find(({ kind }) => kind === 'crash');
    expect(crash).toBeDefined();
    const smallest = await shrinkPlan(plan, async ({ faults, sessions }) => faults.some((fault) => fault === crash) && sessions.length > 0);
    expect(smallest.faults).toEqual([crash]);
    expect(smallest.sessions).toHaveLength(1);
    expect(smallest.sessions[0]?.messages).toHaveLength(1);
    expect(Object.values(smallest.models).every((rate) => rate === 0)).toBe(true);
  });

  it('is as small as it has become when nobody waits any longer', async () => {
    const plan = makePlan('4');
    const stop = new AbortController();
    const seen: number[] = [];
    const smallest = await shrinkPlan(plan, async () => true, {
      signal: stop.signal,
      onProgress({ tries, smallest: { faults } }) {
        seen.push(faults.length);
        if (tries === 2) stop.abort();
      },
    });
    expect(seen).toEqual([plan.faults.length, Math.floor(plan.faults.length / 2)]);
    expect(smallest.faults.length).toBeLessThan(seen[1] ?? 0);
  });

  it('is left as it is when it breaks nothing', async () => {
    const plan = makePlan('2');
    expect(await smallestFailure(plan)).toBe(plan);
  });
});
