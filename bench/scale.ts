/**
 * What a run costs when several processes share one Postgres, beside one process on the same Postgres: in turns, after equal warm-up of
 * each process, once with as many runs in all, once with as many in each process. Runs that arrive together share transactions, so
 * that the transactions are counted, and the CPU of the servers is told apart from that of the database.
 *
 *   node --conditions=nexus-source bench/scale.ts [--processes 4] [--runs 400] [--rounds 3] [--warmup 1000]
 *
 * Postgres is found as the tests find it; its CPU is left out where its processes are not on this machine.
 */
import pg from 'pg';
import { acquirePostgres } from '../test/support/postgres.ts';
import { readArguments } from './support/arguments.ts';
import { createClient, runRequest } from './support/client.ts';
import { cpuMs, inLanes, type Platform, pause, startPlatform } from './support/processes.ts';
import { type Figure, median, report } from './support/report.ts';

const { values } = readArguments({
  options: {
    processes: { type: 'string', default: '4' },
    runs: { type: 'string', default: '400' },
    rounds: { type: 'string', default: '3' },
    warmup: { type: 'string', default: '1000' },
  },
});
const processes = Number(values.processes);
/** At a time, in each process of several. */
const lanes = 12;

interface Cluster {
  readonly platforms: readonly Platform[];
  readonly database: pg.Client;
  /** Makes so many runs, spread over the processes. */
  make(concurrency: number, count: number): Promise<void>;
  stop(): Promise<void>;
}

async function startCluster(size: number): Promise<Cluster> {
  const found = await acquirePostgres();
  if ('reason' in found) throw new Error(found.reason);
  const platforms: Platform[] = [];
  while (platforms.length < size) platforms.push(await startPlatform({ databaseUrl: found.url }));
  const clients = platforms.map(({ url }) => createClient(url, lanes * processes));
  await clients[0]?.putAgent();
  const database = new pg.Client({ connectionString: found.url });
  await database.connect();
  return {
    platforms,
    database,
    async make(concurrency, count) {
      await inLanes(concurrency, count, async (index) => {
        const client = clients[index % clients.length];
        const text = (await (await client?.stream('/v1/agents/chat/stream', runRequest))?.text()) ?? '';
        if (!text.includes('event: run.completed')) throw new Error(`a run did not complete: ${text.slice(-600)}`);
      });
    },
    async stop() {
      await Promise.all(clients.map((client) => client.close()));
      await Promise.all(platforms.map((platform) => platform.close()));
      await database.end();
      await found.close();
    },
  };
}

interface Spent {
  readonly server: number;
  readonly postgres: number;
  readonly transactions: number;
}

/** What a cluster has spent so far; of Postgres by its processes, which come and go with the connections. */
interface Accounts extends Omit<Spent, 'postgres'> {
  readonly postgres: ReadonlyMap<number, number>;
}

async function accountsOf({ platforms, database }: Cluster): Promise<Accounts> {
  await pause(1_200); // counters of Postgres follow within a second
  await database.query('select pg_stat_force_next_flush()');
  const { rows } = await database.query<{ pid: number }>(
    'select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
  );
  const counted = await database.query<{ count: string }>(
    'select xact_commit + xact_rollback as count from pg_stat_database where datname = current_database()',
  );
  return {
    server: platforms.reduce((sum, { server }) => sum + cpuMs(server.child.pid), 0),
    postgres: new Map(rows.map(({ pid }) => [pid, cpuOf(pid)])),
    transactions: Number(counted.rows[0]?.count),
  };
}

function cpuOf(pid: number): number {
  try {
    return cpuMs(pid);
  } catch {
    return Number.NaN; // not on this machine
  }
}

const one = await startCluster(1);
const several = await startCluster(processes);
const cases = [
  { name: `1 process, ${lanes * processes} runs at a time`, cluster: one, concurrency: lanes * processes },
  { name: `1 process, ${lanes} at a time`, cluster: one, concurrency: lanes },
  { name: `${processes} processes, ${lanes} at a time in each`, cluster: several, concurrency: lanes * processes },
] as const;
const samples = new Map<string, Spent[]>(cases.map(({ name }) => [name, []]));
let idle: Spent;
try {
  await one.make(lanes * processes, Number(values.warmup));
  await several.make(lanes * processes, Number(values.warmup) * processes);
  const [resting, from] = [await accountsOf(several), performance.now()];
  await pause(4_000);
  idle = less(await accountsOf(several), resting, (performance.now() - from) / 1000);
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const { name, cluster, concurrency } of cases) {
      const before = await accountsOf(cluster);
      await cluster.make(concurrency, Number(values.runs));
      samples.get(name)?.push(less(await accountsOf(cluster), before, Number(values.runs)));
    }
  }
} finally {
  await one.stop();
  await several.stop();
}

const of = (index: number, what: keyof Spent) => median((samples.get(cases[index]?.name ?? '') ?? []).map((sample) => sample[what]));
const figures: Figure[] = cases.flatMap(({ name }, index) => [
  { name: `${name}: CPU of the servers per run`, value: of(index, 'server'), unit: 'ms' },
  { name: `${name}: CPU of Postgres per run`, value: of(index, 'postgres'), unit: 'ms' },
  { name: `${name}: transactions per run`, value: of(index, 'transactions'), unit: '' },
]);
const total = (index: number) => of(index, 'server') + of(index, 'postgres');
figures.push(
  { name: `CPU, ${processes} processes / 1, as many runs in all: servers`, value: of(2, 'server') / of(0, 'server'), unit: '' },
  {
    name: `CPU, ${processes} processes / 1, as many runs in all: servers and Postgres`,
    value: total(2) / total(0),
    unit: '',
    bar: { op: '<=', value: 1.2 },
  },
  {
    name: `CPU, ${processes} processes / 1, as many in each process: servers and Postgres`,
    value: total(2) / total(1),
    unit: '',
    bar: { op: '<=', value: 1.2 },
  },
  { name: `${processes} processes that rest: transactions`, value: idle.transactions, unit: '/s' },
  { name: `${processes} processes that rest: CPU of the servers`, value: idle.server / 10, unit: '% of a core' },
  { name: `${processes} processes that rest: CPU of Postgres`, value: idle.postgres / 10, unit: '% of a core' },
);
report('scale', figures, [
  `median of ${values.rounds} rounds of ${values.runs} runs in turns, after ${values.warmup} runs of warm-up in each process; one run is that of "agent run"`,
]);

function less(after: Accounts, before: Accounts, by: number): Spent {
  let postgres = 0;
  for (const [pid, ms] of after.postgres) postgres += ms - (before.postgres.get(pid) ?? 0);
  return {
    server: (after.server - before.server) / by,
    postgres: postgres / by,
    transactions: (after.transactions - before.transactions) / by,
  };
}
