import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { howMany } from '../support/how-many.ts';
import { auditBooks, auditRun } from './audit.ts';
import { until, type WorkerProcess } from './cluster.ts';
import { onEachDatabase } from './databases.ts';
import { type Seen, startAndFollow } from './follower.ts';
import { chanceOf } from './seed.ts';
import { probeAnswer, probeRequest } from './task.ts';

/** Kills per database: each starts a process anew, which takes most of the time. The whole check asks for more. */
const kills = howMany('NEXUS_TEST_KILLS', 10);
const workers = 3;
const clients = 12;

onEachDatabase('a cluster under load whose processes die at random moments', { tokensPerSecond: 100 }, (use) => {
  it(`finishes every run over ${kills} deaths, repeats nothing and loses nothing [verifies durability.kill.random durability.model.once durability.log.gap-free]`, async (context) => {
    const cluster = use(context);
    const chance = chanceOf('kills');
    let deaths = 0;
    const ended: Seen[] = [];
    const serving: WorkerProcess[] = [];
    const starting = new Set<Promise<unknown>>();
    const startOne = () => {
      // A storm of kills, none of which is the fault of a run.
      const started = cluster.start({ runs: { maxDeaths: 1_000 } }).then((worker) => {
        serving.push(worker);
        starting.delete(started);
      });
      starting.add(started);
    };
    for (let index = 0; index < workers; index++) startOne();
    const count = (what: 'requests' | 'completed') =>
      Object.values(cluster.simulator.stats().models).reduce((sum, model) => sum + model[what], 0);
    const killing = (async () => {
      while (deaths < kills) {
        // Paced by what is done and not by the clock alone: a busy machine would else kill processes that have not begun. A
        // takeover asks anew, so that a cluster which never comes to an answer also asks: some answer must have come since.
        const [asked, answered] = [count('requests') + chance.int(1, 5), count('completed') + 1];
        await until('the cluster to get on', () => count('requests') >= asked && count('completed') >= answered, 60_000);
        await sleep(chance.int(0, 120));
        // Where starting takes long the one process that serves would else die each time, before any run could get far in it.
        while (serving.length < 2) await Promise.race(starting);
        const [victim] = serving.splice(chance.int(0, serving.length - 1), 1);
        if (victim === undefined) continue;
        deaths += 1;
        await victim.kill();
        startOne();
      }
      await Promise.all(starting);
    })();
    const asking = Array.from({ length: clients }, async (_, client) => {
      for (let round = 0; deaths < kills; round++) {
        const name = `client-${client}/${round}`;
        ended.push(await startAndFollow({ urls: cluster.urls, request: probeRequest(name), idempotencyKey: name, timeoutMs: 120_000 }));
      }
    });
    await Promise.all([killing, ...asking]);
    const problems: string[] = [];
    for (const seen of ended) problems.push(...(await auditRun(cluster, seen, { output: probeAnswer })));
    expect(problems).toEqual([]);
    await until('the last reservation to be closed', async () => (await auditBooks(cluster)).length === 0);
    expect(ended.length).toBeGreaterThan(clients);
  }, 600_000);
});
