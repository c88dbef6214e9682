import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { auditBooks, auditRun } from './audit.ts';
import { type Cluster, openCluster, until } from './cluster.ts';
import { type Seen, startAndFollow } from './follower.ts';
import { probeAnswer, probeRequest } from './task.ts';

/** Kills per database; more for a soak. */
const kills = Number(process.env.NEXUS_TEST_KILLS ?? 100);
const workers = 3;
const clients = 12;

for (const database of ['sqlite', 'postgres'] as const) {
  describe(`a cluster under load whose processes die at random moments, on ${database}`, () => {
    let cluster: Cluster;
    let unavailable: string | undefined;

    beforeAll(async () => {
      const opened = await openCluster(database, { tokensPerSecond: 100 });
      if ('reason' in opened) unavailable = opened.reason;
      else cluster = opened;
    }, 60_000);
    afterAll(() => cluster?.close());

    it(`finishes every run over ${kills} deaths, repeats nothing and loses nothing [verifies durability.kill.random durability.model.once durability.log.gap-free]`, async (context) => {
      if (unavailable !== undefined) return context.skip(unavailable);
      let deaths = 0;
      const ended: Seen[] = [];
      const serving = Array.from({ length: workers }, async () => {
        while (deaths < kills) {
          const worker = await cluster.start();
          await sleep(Math.random() * 900);
          if (deaths >= kills) return;
          deaths += 1;
          await worker.kill();
        }
        await cluster.start();
      });
      const asking = Array.from({ length: clients }, async (_, client) => {
        for (let round = 0; deaths < kills; round++) {
          const name = `client-${client}/${round}`;
          ended.push(await startAndFollow({ urls: cluster.urls, request: probeRequest(name), idempotencyKey: name, timeoutMs: 120_000 }));
        }
      });
      await Promise.all([...serving, ...asking]);
      const problems: string[] = [];
      for (const seen of ended) problems.push(...(await auditRun(cluster, seen, { output: probeAnswer })));
      expect(problems).toEqual([]);
      await until('the last reservation to be closed', async () => (await auditBooks(cluster)).length === 0);
      expect(ended.length).toBeGreaterThan(clients);
    }, 600_000);
  });
}
