import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../../packages/server/src/apps/index.ts';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { pause } from './support/server.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const drainMs = 1_000;
/** A model that never begins its answer. */
const stalled = 'sim/sim-large?stall=0';

async function start(wrapStore: (store: Store) => Store = (store) => store) {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-shutdown-'));
  closers.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const app = await startAllInOne({
    config: resolveConfig({
      env: {},
      flags: { port: 0, auth: { local: 'open' }, dataDir, drainMs, sim: { enabled: 'on' }, log: { level: 'silent' } },
    }),
    version: '0.0.0-test',
    wrapStore,
  });
  closers.push(() => app.close());
  return app;
}

const post = (url: string, model: string) =>
  fetch(`${url}/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ input: 'hello', model }),
  });

it('is not held up by a run whose request was still being written when it began, and does not leave that run behind', async () => {
  let held = false;
  let goOn: () => void = () => undefined;
  const mayGoOn = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const app = await start((store) => ({
    ...store,
    async commit(commit) {
      const result = await store.commit(commit);
      if (commit.createRun?.model === stalled) {
        held = true;
        await mayGoOn;
      }
      return result;
    },
  }));
  expect((await post(app.url, 'sim/sim-large?latencyMs=300')).status).toBe(202); // it ends while the process drains
  const request = post(app.url, stalled);
  await vi.waitFor(() => expect(held).toBe(true), 5_000);
  const startedMs = performance.now();
  const closing = app.close();
  await pause(50);
  goOn();
  expect((await request).status).toBe(202);
  await closing;
  expect(performance.now() - startedMs).toBeLessThan(drainMs + 3_000);
});
