import { setTimeout as sleep } from 'node:timers/promises';
import { AgentDefinition, TenantId } from '@nexus-agent/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { howMany } from '../support/how-many.ts';
import { all } from '../support/ledger-invariants.ts';
import { type Bill, type Biller, billedMicroUsd, billedPrice, startBiller } from './biller.ts';
import { type Cluster, openCluster, steadyLease, until } from './cluster.ts';
import { chanceOf, tellSeedOfFailures } from './seed.ts';

/** Runs on each database. The whole check asks for a thousand. */
const runs = howMany('NEXUS_TEST_BILLED_RUNS', 60);
const processes = 3;
const maxOutputTokens = 200;
/**
 * What a server writes beyond its limit before it hears that nobody reads: it writes a token every 3 ms here, for as long as three
 * processes with so much to do take to come to it.
 */
const chunkTokens = runs < 500 ? 100 : 600;
const tenantId = TenantId.parse('default');

const agent = AgentDefinition.parse({
  name: 'billed',
  instructions: 'Answer.',
  models: ['bill/m', 'anthropic/claude-m'],
  maxOutputTokens,
  timeoutMs: 4_000,
});

/** What an average expects least: text that no vocabulary packs. */
const drawn = chanceOf('billing');
const bytes = (size: number) => Buffer.from(drawn.bytes(size));
const texts = [
  () => bytes(18).toString('hex').repeat(5),
  () => bytes(200).toString('base64'),
  () => bytes(200).toString('hex'),
  () => Array.from({ length: 60 }, () => drawn.int(0, 1e9)).join(' '),
  () => '\u{1f9d1}\u{1f3fd}\u200d\u{1f680} \u{fdfa} \u{1f468}\u200d\u{1f469}'.repeat(12),
  () => String.fromCharCode(...Array.from({ length: 150 }, () => 0x4e00 + drawn.int(0, 19_999))),
  () => 'The quick brown fox jumps over the lazy dog. '.repeat(12),
];

describe.each(['sqlite', 'postgres'] as const)('a provider that bills what it did, on %s', (database) => {
  let opened: Cluster | { readonly reason: string };
  let biller: Biller;
  tellSeedOfFailures();
  beforeAll(async () => {
    biller = await startBiller(chanceOf(`provider on ${database}`).next);
    opened = await openCluster(database, {
      agents: [agent],
      models: {
        providers: {
          compatible: [{ name: 'bill', baseUrl: `${biller.url}/v1`, apiKey: 'k', models: ['m'], countsTokens: true }],
          anthropic: { apiKey: 'k', baseUrl: biller.url },
        },
        // As long as an answer takes here.
        budget: { waitForReservedMs: 4_000 },
        prices: { 'bill/m': billedPrice, 'anthropic/claude-m': billedPrice },
      },
    });
  }, 60_000);
  afterAll(async () => {
    if ('close' in opened) await opened.close();
    await biller.close();
  });

  it(
    `never bills more than a limit under ${runs} runs of ${processes} processes, however it behaves [verifies budget.billed]`,
    async (context) => {
      if ('reason' in opened) return context.skip(opened.reason);
      const cluster = opened;
      // A third of what all would use.
      const limit = Math.round(runs * 1_500);
      const workers = [];
      for (let index = 0; index < processes; index++) workers.push(await cluster.start({ runs: steadyLease }));
      await call(cluster, '/v1/budgets', 'PUT', { scope: { kind: 'tenant', id: tenantId }, unit: 'costMicroUsd', limit });

      const ids: string[] = [];
      let refused = 0;
      await Promise.all(
        Array.from({ length: runs }, async (_, index) => {
          const input = (texts[index % texts.length] ?? (() => ''))();
          const started = await call(cluster, '/v1/runs', 'POST', { agent: 'billed', input });
          // Spent, or held by others for longer than a call waits.
          if (started.status === 402 || started.status === 429) refused += 1;
          else {
            expect(started.status, JSON.stringify(started.body)).toBe(202);
            ids.push(started.body.id);
          }
        }),
      );
      // One dies in the middle: what it had asked for is billed all the same.
      await until('a good part of the answers', () => biller.bills.length > runs / 6, 60_000);
      await workers[0]?.kill();
      const rows = await until(
        'every run to end',
        async () => {
          const found = await Promise.all(ids.map((id) => cluster.store.getRun(tenantId, id as never)));
          return found.every((row) => row?.status === 'completed' || row?.status === 'failed') && found;
        },
        runs * 400 + 60_000,
      );
      await until(
        'every reservation to be closed',
        async () => (await cluster.store.listReservations(tenantId, { state: 'open' })).length === 0,
        90_000,
      );
      await sleep(100);

      const billed = sum(biller.bills.map(billedMicroUsd));
      const beyond = biller.bills.map(({ outputTokens, maxTokens }) => Math.max(0, outputTokens - maxTokens));
      const excess = sum(beyond.map((outputTokens) => billedMicroUsd({ inputTokens: 0, outputTokens })));
      const { items } = await cluster.store.listBudgets(tenantId, { scopes: [{ kind: 'tenant', id: tenantId }] }, Date.now(), {
        limit: 10,
      });
      const spent = items.find(({ unit }) => unit === 'costMicroUsd')?.spent ?? 0;
      const figures = `billed ${Math.round(billed)} of ${limit} micro-USD in ${biller.bills.length} calls, ${Math.round(excess)} of it beyond limits that were ignored; booked ${spent}; ${refused} runs refused at once`;
      process.stdout.write(`  ${database}: ${figures}\n`);

      expect(billed - excess, figures).toBeLessThanOrEqual(limit);
      expect(Math.max(...beyond)).toBeLessThanOrEqual(chunkTokens);
      // Nothing that was billed is missing in the books, but for what came too late to be read.
      expect(spent, figures).toBeGreaterThanOrEqual(billed - excess);
      const entries = await all((page) => cluster.store.listLedgerEntries(tenantId, {}, page));
      expect(sum(entries.map(({ amounts }) => amounts.costMicroUsd ?? 0))).toBe(spent);
      // The limit was what ended it, and a good part of it was of use.
      const ending: ReadonlySet<string | undefined> = new Set(['budget_exceeded', 'budget_contended']);
      expect(rows.some((row) => ending.has(row?.error?.code)) || refused > 0).toBe(true);
      expect(spent, figures).toBeGreaterThan(limit * 0.5);
      expect(rows.filter((row) => row?.status === 'completed').length).toBeGreaterThan(0);

      const ignored = biller.bills.filter(({ manner }) => manner === 'goes on beyond the limit').length;
      let flagged = 0;
      for (const { runId } of rows.filter((row) => row !== null)) {
        const events = await cluster.store.readEvents(tenantId, runId, { after: 0, limit: 500 });
        flagged += events.filter(({ type, data }) => type === 'model.completed' && JSON.parse(data).overran === true).length;
      }
      // Those that were heard beyond their limit, but for what the process that died had asked for.
      expect(flagged).toBeGreaterThanOrEqual(beyond.filter((tokens) => tokens > 2).length * 0.3);
      expect(flagged).toBeLessThanOrEqual(ignored);
      for (const manner of new Set<Bill['manner']>(['cut', 'works and fails', 'json', 'no usage'])) {
        if (runs >= 500) expect(biller.bills.map((bill) => bill.manner)).toContain(manner);
      }
    },
    runs * 500 + 240_000,
  );
});

const sum = (numbers: readonly number[]) => numbers.reduce((all, one) => all + one, 0);

/** Any process; another one when it dies. */
async function call(cluster: Cluster, path: string, method: string, body: unknown): Promise<{ status: number; body: { id: string } }> {
  const key = bytes(16).toString('hex');
  for (let attempt = 0; ; attempt++) {
    const urls = cluster.urls();
    const url = urls[drawn.int(0, Math.max(0, urls.length - 1))];
    try {
      const headers = { 'content-type': 'application/json', 'idempotency-key': key };
      const response = await fetch(`${url}${path}`, { method, headers, body: JSON.stringify(body), signal: AbortSignal.timeout(60_000) });
      if (response.status < 500) return { status: response.status, body: (await response.json()) as { id: string } };
    } catch (error) {
      if (attempt > 5) throw error;
    }
    await sleep(50);
  }
}
