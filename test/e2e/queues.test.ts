import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JournalEvent } from '@nexus-agent/protocol';
import { afterEach, expect, it, vi } from 'vitest';
import { startTestServer, type TestServer, type TestServerOptions } from './support/server.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function open(options: TestServerOptions = {}): Promise<TestServer> {
  const server = await startTestServer(options);
  closers.push(() => server.close());
  await server.agent('coder');
  return server;
}

const programs = (codes: readonly string[]) =>
  `[[sim tools=${codes.map((code) => `code_js(code=${JSON.stringify(code)})`).join(',')}]] [[sim say="done"]]`;
const ends = (events: readonly JournalEvent[]) => events.filter((event) => event.type === 'tool.completed').map(({ data }) => data);
const waiting = async (server: TestServer) =>
  Number(/^nexus_turns_waiting\{queue="sandbox"\} (\d+)$/m.exec((await server.call('GET', '/metrics')).body)?.[1]);

it('fifty runs that start four programs each at once all get their results [verifies queue.under-load]', async () => {
  const server = await open({ config: { runs: { maxLiveRuns: 100 } } });
  const input = programs(['1 + 1', '2 + 2', '3 + 3', '4 + 4']);
  const finished = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const id = await server.start({ agent: 'coder', input });
      await expect.poll(async () => (await server.run(id)).status, { timeout: 150_000, interval: 300 }).toBe('completed');
      return server.events(id);
    }),
  );
  const results = finished.flatMap(ends);
  expect(results).toHaveLength(200);
  expect(results.filter(({ status }) => status !== 'ok')).toEqual([]);
  await server.verifyRuns();
}, 200_000);

const busy = 'for (;;);';

it('shows how long a program waited in its event and in the metrics, and counts it for the wall time of its run alone [verifies queue.visible]', async () => {
  const server = await open({ config: { sandbox: { maxThreads: 1, spareThreads: 1, wallMs: 700, fuel: 10_000_000 } } });
  await server.finish({ agent: 'coder', input: programs(['1']) }); // the start of the thread is not what is waited for
  const { events } = await server.finish({ agent: 'coder', input: programs([busy, busy, '2']), budget: { wallMs: 600_000 } });
  const [first, , third] = ends(events);
  expect(first).toMatchObject({ status: 'error', error: { code: 'limit_exceeded', details: { limit: 'wall' } } });
  expect(first?.waitedMs).toBeUndefined();
  expect(third).toMatchObject({ status: 'ok' });
  expect(third?.waitedMs).toBeGreaterThan(500);
  expect(third?.durationMs).toBeGreaterThanOrEqual(third?.waitedMs ?? Number.POSITIVE_INFINITY);
  const booked = events.filter((event) => event.type === 'budget.settled').map(({ data }) => data.amounts.wallMs ?? 0);
  expect(booked.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThan(third?.waitedMs ?? 0);
  const { body } = await server.call('GET', '/metrics');
  expect(body).toMatch(/^nexus_turn_wait_seconds_count\{queue="sandbox",outcome="served"\} [4-9]$/m);
  expect(Number(/^nexus_turn_wait_seconds_sum\{queue="sandbox",outcome="served"\} (\S+)$/m.exec(body)?.[1])).toBeGreaterThan(0.5);
  expect(await waiting(server)).toBe(0);
});

it('takes the programs of a cancelled run out of the queue at once [verifies queue.turns]', async () => {
  const server = await open({ config: { sandbox: { maxThreads: 1, spareThreads: 1, wallMs: 20_000, fuel: 10_000_000 } } });
  const id = await server.start({ agent: 'coder', input: programs([busy, busy, busy, busy]) });
  await vi.waitFor(async () => expect(await waiting(server)).toBeGreaterThan(1), 10_000);
  await server.call('POST', `/v1/runs/${id}/cancel`);
  await server.until(id, 'cancelled');
  expect(await waiting(server)).toBe(0);
  const { events } = await server.finish({ agent: 'coder', input: programs(['5']) });
  expect(ends(events)).toMatchObject([{ status: 'ok' }]);
}, 40_000);

it('hands programs that wait over when the process drains: none of them has ended with an error [verifies queue.turns]', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-queues-'));
  closers.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const first = await startTestServer({
    dataDir,
    config: { drainMs: 300, sandbox: { maxThreads: 1, spareThreads: 1, wallMs: 20_000, fuel: 10_000_000 } },
  });
  await first.agent('coder');
  // As slow as it is here, and quick where it is done again.
  const slow = 'let n = 0; for (let i = 0; i < 4e6; i++) n += i; n';
  const id = await first.start({ agent: 'coder', input: programs([slow, slow, slow, '1']) });
  await vi.waitFor(async () => expect(await waiting(first)).toBeGreaterThan(0), 10_000);
  await first.close();
  const second = await open({ dataDir, config: { sandbox: { wallMs: 60_000, fuel: 10_000_000 } } });
  await expect.poll(async () => (await second.run(id)).status, { timeout: 40_000 }).toBe('completed');
  const results = ends(await second.events(id));
  expect(results.map(({ status, error }) => error?.code ?? status)).toEqual(['ok', 'ok', 'ok', 'ok']);
}, 60_000);
