import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { auditBooks, auditRun } from './audit.ts';
import { until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';
import { type Seen, startAndFollow } from './follower.ts';
import { probeAnswer, probeRequest } from './task.ts';

/** Kills per database; more for a soak. */
const kills = Number(process.env.NEXUS_TEST_KILLS ?? 100);
const workers = 3;
const clients = 12;

onEachDatabase('a cluster under load whose processes die at random moments', { tokensPerSecond: 100 }, (use) => {
  it(`finishes every run over ${kills} deaths, repeats nothing and loses nothing [verifies durability.kill.random durability.model.once durability.log.gap-free]`, async (context) => {
    const cluster = use(context);
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
