import { describe, expect, it } from 'vitest';
import { loadSimulation } from '#apps';
import { runCli } from './cli.testkit.ts';

describe('nexus sim [verifies sim.command]', () => {
  it('runs seeds and sums up', async () => {
    const { code, out } = await runCli(['sim', '--seeds', '2', '--from', '3']);
    expect(out).toMatch(
      /^2 simulations from seed 3: \d+ runs, \d+ commits, \d+ faults, \d+ events\n\d+ virtual seconds in [\d.]+ s of CPU/,
    );
    expect(out).toContain('nothing failed');
    expect(code).toBe(0);
  });

  it('shows one as a timeline, and replays a plan from a file', async () => {
    const { code, out } = await runCli(['sim', '--seed', '2', '--trace']);
    expect(code).toBe(0);
    expect(out).toMatch(/time n0 +n1/);
    const json = await runCli(['sim', '--seed', '2', '--json']);
    const { plan, digest } = JSON.parse(json.out);
    const again = await runCli(['sim', '--plan', 'plan.json', '--json'], { files: { 'plan.json': JSON.stringify(plan) } });
    expect(JSON.parse(again.out).digest).toBe(digest);
  });

  it('says that both were the same when it ran twice', async () => {
    expect((await runCli(['sim', '--seed', '2', '--twice'])).out).toContain('seed 2: ✓ nothing failed, and it was the same twice');
    expect((await runCli(['sim', '--seeds', '1', '--twice'])).out).toMatch(/^1 simulation from seed 1:.*and all were the same twice\n$/s);
  });

  it('says how far it came when it is interrupted', async () => {
    const { out } = await runCli(['sim', '--seeds', '900'], {
      apps: { loadSimulation: async () => ({ ...(await loadSimulation()), runCampaign: async () => ({ ...nothing, simulations: 3 }) }) },
    });
    expect(out).toContain('interrupted: 3 of 900 were simulated\nof these nothing failed');
  });

  it.each([
    [['--seeds', 'many'], "argument 'many' is invalid. expected a whole number from 1 to 999,999,999,999."],
    [['--seeds', '0'], 'expected a whole number from 1 to'],
    [['--jobs', '0'], 'expected a whole number from 1 to'],
    [['--seed', '-1'], 'expected a whole number from 0 to'],
    [['--seed', '4', '--seeds', '5'], "'--seed <number>' cannot be used with option '--seeds <count>'"],
    [['--seed', '4', '--plan', 'plan.json'], "'--seed <number>' cannot be used with option '--plan <file>'"],
    [['--plan', 'plan.json', '--from', '3'], "'--plan <file>' cannot be used with option '--from <number>'"],
    [['--seeds', '5', '--trace'], 'name it with --seed or --plan'],
    [['--plan', 'nowhere.json'], 'there is no file nowhere.json'],
    [['--plan', 'words.md'], 'words.md: a plan is JSON'],
  ])('%j is refused', async (argv, message) => {
    const { code, err } = await runCli(['sim', ...argv], { files: { 'words.md': '# A plan' } });
    expect(err).toContain(message);
    expect(code).toBe(2);
  });
});

const nothing = { simulations: 0, virtualMs: 0, events: 0, runs: 0, commits: 0, faults: 0, failures: [] };

/** Simulations of which each breaks something when it has a fault. */
async function breaking() {
  const simulation = await loadSimulation();
  const violation = 'budget: too much is spent';
  const outcome = { ...nothing, violation, digest: 'd1', lines: [] };
  return {
    ...simulation,
    runCampaign: async ({ from }: { from: number }) => ({ ...nothing, simulations: 1, failures: [{ seed: String(from), violation }] }),
    tellSimulation: async () => ({ outcome, timeline: '        time n0' }),
    smallestFailure: async (plan: ReturnType<typeof simulation.makePlan>) => ({ ...plan, faults: plan.faults.slice(0, 1) }),
  };
}

describe('nexus sim of what fails [verifies sim.command]', () => {
  const apps = { loadSimulation: breaking };
  const lastLine = (text: string) => text.trimEnd().split('\n').at(-1) ?? '';

  it.each([
    ['one seed', ['--seed', '4']],
    ['the first of many', ['--seeds', '1', '--from', '4']],
  ])('%s is shrunk and shown as a timeline with its plan', async (_what, argv) => {
    const { code, out, err } = await runCli(['sim', ...argv], { apps });
    expect(code).toBe(1);
    expect(err).toContain('looking for the least that fails as seed 4 does');
    expect(out).toMatch(/✗.* budget: too much is spent\n.*time n0/s);
    expect(JSON.parse(lastLine(out)).faults).toHaveLength(1);
  });

  it('is shown as it is when it is told or asked for as JSON', async () => {
    const traced = await runCli(['sim', '--seed', '4', '--trace'], { apps });
    expect(traced.err).toBe('');
    expect(JSON.parse(lastLine(traced.out)).faults.length).toBeGreaterThan(1);
    const { code, out } = await runCli(['sim', '--seeds', '1', '--json'], { apps });
    expect(JSON.parse(out).failures).toHaveLength(1);
    expect(code).toBe(1);
  });

  it('says how it is seen when it is not shrunk', async () => {
    const { out } = await runCli(['sim', '--seeds', '1', '--from', '4', '--no-shrink'], { apps });
    expect(out).toContain('✗ 1 failed; to see one: nexus sim --seed 4 --trace');
  });

  it('is replayed from all that was printed', async () => {
    const printed = await runCli(['sim', '--seed', '2', '--trace'], { apps });
    const json = await runCli(['sim', '--seed', '2', '--json']);
    for (const text of [printed.out, json.out]) {
      const again = await runCli(['sim', '--plan', 'out.txt', '--json'], { files: { 'out.txt': text } });
      expect(JSON.parse(again.out).digest).toBe(JSON.parse(json.out).digest);
    }
  });

  it('stops looking for less when it is interrupted', async () => {
    let left: AbortSignal | undefined;
    const { code, out } = await runCli(['sim', '--seed', '4'], {
      interruptAt: /looking for the least/,
      apps: {
        loadSimulation: async () => ({
          ...(await breaking()),
          smallestFailure: async (plan, { signal } = {}) => {
            left = signal;
            await new Promise((resolve) => signal?.addEventListener('abort', resolve));
            return plan;
          },
        }),
      },
    });
    expect(left?.aborted).toBe(true);
    expect(out).toContain('to see it again');
    expect(code).toBe(130);
  });
});
