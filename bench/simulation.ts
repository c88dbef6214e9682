/**
 * How fast clusters are simulated: virtual seconds per second of CPU.
 *
 *   node --conditions=nexus-source bench/simulation.ts [--idle 1200] [--busy 60]
 *
 * An idle cluster shows what its signs of life, polls and jobs cost; a busy one is told by the second of the world, whatever it does in it.
 */
import { loadSimulation } from '../packages/server/src/apps/index.ts';
import { readArguments } from './support/arguments.ts';
import { type Figure, report } from './support/report.ts';

const { values } = readArguments({ options: { idle: { type: 'string', default: '1200' }, busy: { type: 'string', default: '60' } } });
const { parsePlan, tellSimulation } = await loadSimulation();
type Plan = ReturnType<typeof parsePlan>;

/** Three nodes with the settings of a server, and nothing that goes wrong. */
function planOf(seconds: number, sessions: readonly unknown[]): Plan {
  return parsePlan(
    JSON.stringify({
      seed: 'bench',
      nodes: 3,
      wrongByMs: [0, 0, 0],
      hasBus: true,
      settings: { leaseMs: 3_000, heartbeatMs: 500, pollMs: 500 },
      models: { refuse: 0, cut: 0, stall: 0, wrongAccount: 0, ignoreLimit: 0 },
      tools: { fail: 0, slow: 0, hang: 0 },
      beginsAt: Date.UTC(2026, 0, 15),
      pace: 1,
      answerMs: 2_000,
      sessions,
      faults: [],
      calmAt: seconds * 1_000,
    }),
  );
}

/** Runs of two tools and two answers, each in a session of its own. */
function sessionsOf(count: number, seconds: number) {
  return Array.from({ length: count }, (_, index) => {
    const name = `s${index}`;
    const at = (index * seconds * 1_000) / count;
    const calls = [
      { name: 'look', input: { n: 1 } },
      { name: 'put', input: { n: 2 } },
    ];
    const turns = [
      { say: 10, calls },
      { say: 60, calls: [] },
    ];
    const message = { name: `${name}m0`, at, script: { name: `${name}m0`, turns }, more: {}, background: true };
    return { name, at, agent: 'helper', messages: [{ ...message, resumes: false, readers: 1, twice: false }] };
  });
}

async function measure(plan: Plan) {
  const before = process.cpuUsage();
  const { outcome } = await tellSimulation(plan);
  const { user, system } = process.cpuUsage(before);
  if (outcome.violation !== null) throw new Error(outcome.violation);
  const seconds = outcome.virtualMs / 1_000;
  return { ...outcome, perCpuSecond: seconds / ((user + system) / 1_000_000), seconds };
}

await measure(planOf(10, sessionsOf(10, 5)));
const idle = await measure(planOf(Number(values.idle), []));
const runsPerSecond = 2;
const busySeconds = Number(values.busy);
const busy = await measure(planOf(busySeconds, sessionsOf(busySeconds * runsPerSecond, busySeconds)));
const figures: Figure[] = [
  { name: '3 nodes, idle: virtual seconds per CPU second', value: idle.perCpuSecond, unit: '', bar: { op: '>=', value: 1_000 } },
  { name: '3 nodes, idle: events per virtual second', value: idle.events / idle.seconds, unit: '' },
  { name: '3 nodes, busy: virtual seconds per CPU second', value: busy.perCpuSecond, unit: '', bar: { op: '>=', value: 100 } },
  { name: '3 nodes, busy: runs per virtual second', value: busy.runs / busy.seconds, unit: '' },
];
report('simulation', figures, [
  'books, journals, limits and fences are held after each transaction: what it touched',
  'the plans of seeds are less busy: about 0.17 runs per virtual second (decision 0046)',
]);
