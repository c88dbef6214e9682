/**
 * What people and programs ask for all the time, at a database of 100,000 runs and a million events and at one of 1,000 runs, whose pages
 * are as full: two servers, asked in turns by one client, on the embedded database and on Postgres (found as the tests find it).
 *
 *   node --conditions=nexus-source bench/growth.ts [--runs 100000] [--rounds 400] [--on sqlite,postgres]
 */
import { growDatabase } from '../test/support/grown-database.ts';
import { acquirePostgres } from '../test/support/postgres.ts';
import { type DatabaseLocation, openTestStore } from '../test/support/stores.ts';
import { readArguments } from './support/arguments.ts';
import { createClient, runRequest } from './support/client.ts';
import { type Platform, startPlatform } from './support/processes.ts';
import { type Figure, median, percentile, report } from './support/report.ts';

const { values } = readArguments({
  options: {
    runs: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '400' },
    on: { type: 'string', default: 'sqlite,postgres' },
  },
});
const rounds = Number(values.rounds);
const sizes = { small: 1_000, large: Number(values.runs) } as const;
type Size = keyof typeof sizes;

type Client = ReturnType<typeof createClient>;
type Times = Map<string, number[]>;

async function fill(location: DatabaseLocation, runs: number): Promise<void> {
  await (await openTestStore(location)).close();
  await growDatabase(location, runs, 'default');
}

/** Everything once, each timed by itself. */
async function round(client: Client, time: (what: string, ask: () => Promise<{ status: number; text: string }>) => Promise<string>) {
  const idOf = (text: string) => (JSON.parse(text) as { id: string }).id; // as the API answers
  const session = idOf(await time('create a session', () => client.post('/v1/sessions', '{"agent":"bench"}')));
  await time('chat', async () => {
    let text = '';
    for await (const piece of await client.stream('/v1/agents/chat/stream', runRequest)) text += String(piece);
    return { status: text.includes('run.completed') ? 200 : 500, text };
  });
  const inSession = JSON.stringify({ ...(JSON.parse(runRequest) as object), sessionId: session });
  const run = idOf(await time('start', () => client.post('/v1/runs', inSession)));
  await time('cancel', () => client.post(`/v1/runs/${run}/cancel`, '{}'));
  await time('close a session', () => client.post(`/v1/sessions/${session}/close`, '{}'));
  await time('list runs', () => client.get('/v1/runs?limit=20'));
  await time('list runs that wait', () => client.get('/v1/runs?status=waiting&limit=2'));
  await time('list runs that failed', () => client.get('/v1/runs?status=failed&limit=20'));
  await time('list sessions', () => client.get('/v1/sessions?limit=20'));
  await time('decisions of a run', () => client.get(`/v1/runs/${run}/decisions`));
  await time('usage by day', () => client.get('/v1/usage?days=60'));
  await time('usage by user', () => client.get('/v1/usage?days=60&by=user&limit=20'));
}

const spans = 5;

/** Of the p95 of each fifth of the rounds, the median: what else the machine did for a moment is then not taken for growth. */
function ratioOf(few: readonly number[], many: readonly number[]): number {
  const length = Math.max(1, Math.floor(few.length / spans));
  const p95 = (times: readonly number[], span: number) => percentile(times.slice(span * length, (span + 1) * length), 0.95);
  return median(Array.from({ length: spans }, (_, span) => p95(many, span) / p95(few, span)).filter(Number.isFinite));
}

async function measure(name: 'sqlite' | 'postgres', urls?: Readonly<Record<Size, string>>): Promise<Figure[]> {
  const platforms = new Map<Size, { platform: Platform; client: Client; times: Times }>();
  try {
    for (const size of ['small', 'large'] as const) {
      const url = urls?.[size];
      if (url !== undefined) await fill({ url }, sizes[size]);
      const platform = await startPlatform(
        url === undefined ? { prepare: (dataDir) => fill({ dataDir }, sizes[size]) } : { databaseUrl: url },
      );
      const client = createClient(platform.url, 4);
      await client.putAgent();
      platforms.set(size, { platform, client, times: new Map() });
    }
    for (let turn = -10; turn < rounds; turn++) {
      const inTurn = [...platforms.values()];
      for (const { client, times } of turn % 2 === 0 ? inTurn : inTurn.toReversed())
        await round(client, async (what, ask) => {
          const before = performance.now();
          const { status, text } = await ask();
          if (status >= 300) throw new Error(`${what} was answered with ${status}: ${text}`);
          if (turn >= 0) times.set(what, [...(times.get(what) ?? []), performance.now() - before]);
          return text;
        });
    }
    const [small, large] = [platforms.get('small')?.times, platforms.get('large')?.times];
    return [...(small?.keys() ?? [])].flatMap((what): Figure[] => {
      const [few, many] = [small?.get(what) ?? [], large?.get(what) ?? []];
      const p95 = percentile(many, 0.95);
      // One has more users to sum up; the others answer the same.
      const bar = what === 'usage by user' ? {} : { bar: { op: '<=', value: 1.25 } as const };
      return [
        { name: `${name}: ${what}, p95 at ${sizes.large} runs`, value: p95, unit: 'ms' },
        { name: `${name}: ${what}, p95 at ${sizes.large} / at ${sizes.small}`, value: ratioOf(few, many), unit: '', ...bar },
        {
          name: `${name}: ${what}, p50 at ${sizes.large} / at ${sizes.small}`,
          value: percentile(many, 0.5) / percentile(few, 0.5),
          unit: '',
        },
      ];
    });
  } finally {
    for (const { platform, client } of platforms.values()) {
      await client.close();
      await platform.close('SIGKILL');
    }
  }
}

const figures: Figure[] = values.on.includes('sqlite') ? await measure('sqlite') : [];
const notes: string[] = [];
const none = { reason: 'it was not asked for' };
const [first, second] = values.on.includes('postgres') ? [await acquirePostgres(), await acquirePostgres()] : [none, none];
if ('reason' in first || 'reason' in second) {
  notes.push(`Postgres was not measured: ${'reason' in first ? first.reason : ''}`);
} else {
  try {
    figures.push(...(await measure('postgres', { small: first.url, large: second.url })));
  } finally {
    await Promise.all([first.close(), second.close()]);
  }
}
notes.push(`${rounds} rounds of one client, the two servers in turns after 10 rounds of warm-up; p95 ratios: median of five fifths`);
report('growth', figures, notes);
