import type { RunId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { tenant } from '../e2e/support/server.ts';
import { openTestStore } from '../support/stores.ts';
import { auditBooks, auditRun } from './audit.ts';
import { until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';
import { startAndFollow } from './follower.ts';
import { probeAnswer, probeRequest } from './task.ts';

/** On the embedded database nobody waits for it to end. */
const leases = { sqlite: 60_000, postgres: 2_000 } as const;
const points = ['before:model.completed:1', 'tool:a1:entered', 'after:tool.completed:b2'];

onEachDatabase('a process that is killed and comes back with another time on its wall', {}, (use) => {
  it.for([-30_000, 30_000, -3_600_000])(
    'drives its runs on and begins what was queued, at once: %i ms off [verifies durability.clock]',
    { timeout: 90_000 },
    async (wrongByMs, context) => {
      const cluster = use(context);
      // Nobody else has the file open.
      await cluster.store.close();
      const runs = { leaseMs: leases[cluster.databaseUrl === null ? 'sqlite' : 'postgres'], heartbeatMs: 250, pollMs: 100 };
      const victim = await cluster.start({ holds: 'asked', runs: { ...runs, maxLiveRuns: points.length } });
      const follow = (name: string) =>
        startAndFollow({ first: victim.url, urls: cluster.urls, request: probeRequest(name), idempotencyKey: name.replaceAll(' ', '-') });
      const following = points.map((point) => follow(`hold=${point} ${wrongByMs}`));
      await Promise.race([Promise.all(following), until('holding every run', () => victim.held.size === points.length)]);
      const response = await fetch(`${victim.url}/v1/runs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(probeRequest(`queued ${wrongByMs}`)),
      });
      const { id } = (await response.json()) as { id: string }; // a run
      await victim.kill();
      const next = await cluster.start({ runs, wrongByMs });
      const begunAt = performance.now();
      const seen = await Promise.all(following);
      await until('the queued run to end', async () => {
        const { status } = (await (await fetch(`${next.url}/v1/runs/${id}`)).json()) as { status: string }; // a run
        return status === 'completed';
      });
      expect(performance.now() - begunAt).toBeLessThan(25_000);
      const store = await openTestStore(cluster.databaseUrl === null ? { dataDir: cluster.dataDir() } : { url: cluster.databaseUrl });
      try {
        const view = { ...cluster, store };
        for (const each of seen) expect(await auditRun(view, each, { output: probeAnswer })).toEqual([]);
        expect(await auditBooks(view)).toEqual([]);
        expect(await store.getRun(tenant, id as RunId)).toMatchObject({ epoch: 1 }); // as it was numbered
      } finally {
        await store.close();
      }
      await next.kill();
    },
  );
});
