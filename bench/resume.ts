/**
 * What the first message to a long session costs a server that has just started: nothing of the session is known, and all of it is told to
 * the model, which takes it as a whole. Sessions of 1,000 and 10,000 ended runs, on the embedded database and on Postgres (found as the
 * tests find it); beside them a session of three runs, and the second message.
 *
 *   node --conditions=nexus-source bench/resume.ts [--runs 1000,10000] [--samples 3] [--on sqlite,postgres]
 */
import type { SessionId, TenantId } from '@nexus-agent/protocol';
import { growSession } from '../packages/server/src/runs/testing/index.ts';
import { acquirePostgres } from '../test/support/postgres.ts';
import { openTestStore } from '../test/support/stores.ts';
import { readArguments } from './support/arguments.ts';
import { createClient } from './support/client.ts';
import { cpuMs, pause, start, startPlatform } from './support/processes.ts';
import { type Figure, median, report } from './support/report.ts';

const { values } = readArguments({
  options: {
    runs: { type: 'string', default: '1000,10000' },
    samples: { type: 'string', default: '3' },
    on: { type: 'string', default: 'sqlite,postgres' },
  },
});
const sizes = values.runs.split(',').map(Number);
const samples = Number(values.samples);
/** More than the longest of them has. */
const contextTokens = 100_000_000;
const tenantId = 'default' as TenantId;
const budget = { costMicroUsd: 1_000_000_000_000, tokens: 1_000_000_000 };
const first = 3;

type Client = ReturnType<typeof createClient>;

async function chat(client: Client, sessionId: string): Promise<void> {
  const body = JSON.stringify({ agent: 'bench', sessionId, input: 'Say what comes next.', budget });
  let text = '';
  for await (const piece of await client.stream('/v1/agents/chat/stream', body)) text += String(piece);
  if (!text.includes('event: run.completed')) throw new Error(text.slice(-2_000));
}

async function sessionOf(client: Client, runs: number): Promise<SessionId> {
  const { text } = await client.post('/v1/sessions', '{"agent":"bench"}');
  const { id } = JSON.parse(text) as { id: SessionId }; // as the API answers
  for (let run = 0; run < runs; run++) await chat(client, id);
  return id;
}

/** A session of so many runs, made by a server of its own. */
async function fill(dataDir: string, databaseUrl: string | undefined, upstream: string, runs: number): Promise<SessionId> {
  const server = start('nexus-server.ts', [upstream, dataDir, databaseUrl ?? '', String(contextTokens)]);
  const client = createClient(await server.line(), 4);
  await client.putAgent();
  const session = await sessionOf(client, first);
  await client.close();
  await server.stop();
  const store = await openTestStore(databaseUrl === undefined ? { dataDir } : { url: databaseUrl });
  await growSession(store, tenantId, session, runs);
  await store.close();
  return session;
}

interface Message {
  /** Of the loop, by the clock. */
  readonly holdMs: number;
  /** Between two looks of a timer of 1 ms, of the main thread. */
  readonly holdCpuMs: number;
  readonly cpuMs: number;
  readonly elapsedMs: number;
}

async function once(runs: number, databaseUrl: string | undefined): Promise<{ readonly first: Message; readonly second: Message }> {
  let session = '';
  const platform = await startPlatform({
    mockArgs: ['steps', '0'],
    contextTokens,
    watchLoop: true,
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    prepare: async (dataDir, upstream) => {
      session = await fill(dataDir, databaseUrl, upstream, runs);
    },
  });
  const client = createClient(platform.url, 4);
  const { pid } = platform.server.child;
  try {
    await sessionOf(client, 20); // the code is warm then, and the session is not
    const message = async (): Promise<Message> => {
      await pause(300);
      await platform.usage();
      const before = cpuMs(pid);
      const startedAt = performance.now();
      await chat(client, session);
      const elapsedMs = performance.now() - startedAt;
      await pause(30); // the watch itself is told of a hold only after it
      const { held } = await platform.usage();
      return { holdMs: held.ms, holdCpuMs: held.cpuMs, cpuMs: cpuMs(pid) - before, elapsedMs };
    };
    return { first: await message(), second: await message() };
  } finally {
    await client.close();
    await platform.close();
  }
}

async function measure(name: 'sqlite' | 'postgres', runs: number): Promise<Figure[] | string> {
  const found: { readonly first: Message; readonly second: Message }[] = [];
  for (let sample = 0; sample < samples; sample++) {
    const postgres = name === 'postgres' ? await acquirePostgres() : null;
    if (postgres !== null && 'reason' in postgres) return postgres.reason;
    try {
      found.push(await once(runs, postgres?.url));
    } finally {
      await postgres?.close();
    }
  }
  const holdBar = runs > 1_000 ? undefined : 20;
  const of = (what: string, which: 'first' | 'second', key: keyof Message, bar?: number): Figure => ({
    ...{ name: `${name}: ${runs} runs: ${what}`, value: median(found.map((sample) => sample[which][key])), unit: 'ms' },
    ...(bar === undefined ? {} : { bar: { op: '<=' as const, value: bar } }),
  });
  return [
    of('longest hold of the loop in CPU, first message', 'first', 'holdCpuMs', holdBar),
    of('longest hold of the loop, first message', 'first', 'holdMs'),
    of('CPU of the first message', 'first', 'cpuMs'),
    of('first message, elapsed', 'first', 'elapsedMs'),
    of('longest hold of the loop in CPU, second message', 'second', 'holdCpuMs', holdBar),
    of('CPU of the second message', 'second', 'cpuMs'),
  ];
}

const figures: Figure[] = [];
const notes = [`median of ${samples} servers; the model takes the whole session; all threads`];
for (const name of ['sqlite', 'postgres'] as const) {
  if (!values.on.includes(name)) continue;
  for (const runs of [first, ...sizes]) {
    const measured = await measure(name, runs);
    if (typeof measured === 'string') notes.push(`Postgres was not measured: ${measured}`);
    else figures.push(...measured);
  }
}
report('resume', figures, notes);
