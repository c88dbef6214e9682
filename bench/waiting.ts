/**
 * Runs that wait for a person, in great numbers: what each takes of a server's memory, how long a claim looks at them, and how soon one
 * goes on that was answered. Beside it a database in which a thousand wait, on the embedded database and on Postgres (found as the
 * tests find it). The rows are written by SQL; those that are woken are runs of their own.
 *
 *   node --conditions=nexus-source bench/waiting.ts [--runs 100000] [--wakes 200]
 *
 * `--runs 1000000` takes some minutes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Run } from '@nexus-agent/protocol';
import { fillWaiting } from '../test/support/grown-database.ts';
import { acquirePostgres } from '../test/support/postgres.ts';
import { type DatabaseLocation, openTestStore } from '../test/support/stores.ts';
import { readArguments } from './support/arguments.ts';
import { createClient } from './support/client.ts';
import { inLanes, pause, startPlatform } from './support/processes.ts';
import { type Figure, median, percentile, report } from './support/report.ts';

const { values } = readArguments({ options: { runs: { type: 'string', default: '100000' }, wakes: { type: 'string', default: '200' } } });
const [few, many] = [1_000, Number(values.runs)];

interface Found {
  /** Of one claim that finds nothing, in ms. */
  readonly claims: readonly number[];
  readonly rssMb: number;
  /** From an answer until the run has gone on, in ms. */
  readonly wakes: readonly number[];
}

/** A database in which so many runs wait, and a server on it. */
async function measure(url: string | undefined, waiting: number): Promise<Found> {
  const folder = mkdtempSync(join(tmpdir(), 'nexus-bench-'));
  const location: DatabaseLocation = url === undefined ? { dataDir: folder } : { url };
  await (await openTestStore(location)).close();
  await fillWaiting(location, waiting);
  const claims = await claimTimes(location);
  const platform = await startPlatform({ mockArgs: ['steps', '1'], ...(url === undefined ? { dataDir: folder } : { databaseUrl: url }) });
  try {
    await pause(3_000);
    const { rss } = await platform.usage();
    return { claims, rssMb: rss / 1024 ** 2, wakes: await wakeTimes(platform.url) };
  } finally {
    await platform.close('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

async function claimTimes(location: DatabaseLocation): Promise<number[]> {
  const store = await openTestStore(location);
  const times: number[] = [];
  try {
    await store.heartbeat('wrk_bench', 60_000);
    for (let index = -20; index < 200; index++) {
      const before = performance.now();
      const claimed = await store.claimRuns('wrk_bench', 10);
      if (claimed.length > 0) throw new Error('a run that waits was claimed');
      if (index >= 0) times.push(performance.now() - before);
    }
    await store.retireWorker('wrk_bench');
  } finally {
    await store.close();
  }
  return times;
}

async function wakeTimes(url: string): Promise<number[]> {
  const client = createClient(url, 20);
  const agent = { name: 'asking', models: ['mock/mock'], instructions: 'Ask.', tools: ['lookup'], policy: { approve: ['lookup'] } };
  const put = await client.post('/v1/agents', JSON.stringify(agent));
  if (put.status >= 300) throw new Error(put.text);
  const asks: { run: string; approval: string }[] = [];
  /** The run once it has come so far. */
  const until = async (run: string, isThere: (run: Run) => boolean): Promise<Run> => {
    for (const from = performance.now(); performance.now() - from < 30_000; await pause(10)) {
      const found = JSON.parse((await client.get(`/v1/runs/${run}`)).text) as Run; // as the API answers
      if (found.status === 'failed') throw new Error(`run ${run} failed: ${found.error?.message}`);
      if (isThere(found)) return found;
    }
    throw new Error(`run ${run} did not come so far in 30 s`);
  };
  await inLanes(10, Number(values.wakes), async () => {
    const started = await client.post('/v1/runs', '{"agent":"asking","input":"Ask."}');
    const { id: run } = JSON.parse(started.text) as { id: string }; // a run of the API
    const { waitingFor } = await until(run, ({ status }) => status === 'waiting');
    const [approval] = waitingFor?.approvals ?? [];
    if (approval === undefined) throw new Error(`run ${run} waits for nobody`);
    asks.push({ run, approval });
  });
  const times: number[] = [];
  await inLanes(5, asks.length, async (index) => {
    const { run, approval } = asks[index] ?? { run: '', approval: '' };
    const before = performance.now();
    const answered = await client.post(`/v1/approvals/${approval}`, '{"decision":"approve"}');
    if (answered.status >= 300) throw new Error(answered.text);
    await until(run, ({ status }) => status !== 'waiting' && status !== 'queued');
    times.push(performance.now() - before);
  });
  await client.close();
  return times;
}

const figures: Figure[] = [];
const notes: string[] = [];
for (const name of ['sqlite', 'postgres'] as const) {
  const databases = name === 'sqlite' ? [] : [await acquirePostgres(), await acquirePostgres()];
  const urls = databases.flatMap((database) => ('url' in database ? [database.url] : []));
  if (urls.length < databases.length) {
    notes.push('Postgres was not measured: there is none');
    continue;
  }
  try {
    const small = await measure(urls[0], few);
    const large = await measure(urls[1], many);
    figures.push(
      {
        name: `${name}: memory per waiting run`,
        value: ((large.rssMb - small.rssMb) * 1024) / (many - few),
        unit: 'KB',
        bar: { op: '<=', value: 0.1 },
      },
      { name: `${name}: claim that finds nothing, p50 at ${many}`, value: median(large.claims), unit: 'ms' },
      {
        name: `${name}: claim that finds nothing, p50 at ${many} / at ${few}`,
        value: median(large.claims) / median(small.claims),
        unit: '',
        bar: { op: '<=', value: 1.25 },
      },
      { name: `${name}: from an answer until the run goes on, p50`, value: median(large.wakes), unit: 'ms' },
      {
        name: `${name}: from an answer until the run goes on, p99`,
        value: percentile(large.wakes, 0.99),
        unit: 'ms',
        bar: { op: '<=', value: 1000 },
      },
    );
  } finally {
    for (const database of databases) if ('url' in database) await database.close();
  }
}
report('waiting runs', figures, [
  ...notes,
  `${many} runs wait; memory is what an idle server has more than one in whose database ${few} wait; ${values.wakes} runs are woken, 5 at a time`,
]);
