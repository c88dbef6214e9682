import { expect, it } from 'vitest';
import { auditBooks, auditRun, journalOf } from './audit.ts';
import { type Cluster, steadyLease, until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';
import { type Seen, startAndFollow } from './follower.ts';
import { probeAnswer, probeRequest } from './task.ts';

const probes = ['a1', 'b1', 'a2', 'b2'];
const steps = [1, 2, 3];
const commits = ['run.created', ...steps.map((step) => `model.completed:${step}`), ...probes.map((probe) => `tool.completed:${probe}`)];
const boundaries = commits.flatMap((commit) => [`before:${commit}`, `after:${commit}`]);
const middles = [
  ...steps.flatMap((step) => ['sent', 'streaming', 'answered'].map((phase) => `model:${step}:${phase}`)),
  ...probes.flatMap((probe) => ['entered', 'effected'].map((phase) => `tool:${probe}:${phase}`)),
];

onEachDatabase('runs whose process is killed at chosen points', {}, (use) => {
  it('complete elsewhere from every step boundary [verifies durability.kill.every-boundary durability.model.once durability.log.gap-free durability.replay.same-state]', async (context) => {
    const cluster = use(context);
    const standby = await cluster.start({ runs: steadyLease });
    expect(await killAt(cluster, boundaries, 1)).toEqual([]);
    await standby.kill();
  }, 60_000);

  it('complete elsewhere from the middle of every step [verifies durability.kill.mid-step durability.effects.idempotent]', async (context) => {
    const cluster = use(context);
    const standby = await cluster.start({ runs: steadyLease });
    expect(await killAt(cluster, middles, 1)).toEqual([]);
    await standby.kill();
  }, 60_000);

  it('complete when the next process dies too, just before or after it took them up', async (context) => {
    const cluster = use(context);
    expect(await killAt(cluster, [...boundaries, ...middles], 2)).toEqual([]);
  }, 200_000);
});

/** Each run is held at its point. When all are there their process is killed, and others, running already or started then, take them up. */
async function killAt(cluster: Cluster, points: readonly string[], deaths: 1 | 2): Promise<string[]> {
  const victim = await cluster.start({ holds: 'asked', claimsNothing: true, runs: steadyLease });
  const following = points.map((point) => {
    const name = `${point}/${deaths}`;
    // After two deaths the runs are driven one after the other, each alone for a while.
    const timeoutMs = deaths === 2 ? 180_000 : 60_000;
    const request = probeRequest(`hold=${point} ${name}`);
    return startAndFollow({ first: victim.url, urls: cluster.urls, request, idempotencyKey: name, timeoutMs });
  });
  const all = Promise.all(following);
  const holding = until('holding every run', () => victim.held.size === points.length);
  await Promise.race([all, holding]);
  await victim.kill();
  if (deaths === 2) {
    const second = await cluster.start({ holds: 'resumed', runs: steadyLease });
    // A run that was never written is asked for again by its client, and the last answer is written together with the run's end.
    const taken = points.filter((point) => point !== 'before:run.created' && point !== 'after:model.completed:3').length;
    await Promise.race([all, until('holding every run that was taken up', () => second.held.size === taken)]);
    await second.kill();
    await cluster.start();
  }
  const problems: string[] = [];
  for (const [index, seen] of (await all).entries()) {
    const found = [...(await auditRun(cluster, seen, { output: probeAnswer })), ...(await auditAttempts(cluster, seen, deaths))];
    problems.push(...found.map((problem) => `${points[index]}: ${problem}`));
  }
  return [...problems, ...(await auditBooks(cluster))];
}

/** A death costs no more than what was in flight: one model attempt, or the two tools of a step. */
async function auditAttempts(cluster: Cluster, seen: Seen, deaths: 1 | 2): Promise<string[]> {
  const journal = await journalOf(cluster, seen.runId ?? '');
  const restarted = journal.filter((event) => event.type === 'step.restarted').length;
  const started = journal.filter((event) => event.type === 'model.started' || event.type === 'tool.started').length;
  return restarted <= 2 * deaths && started === 7 + restarted ? [] : [`${started} attempts were started, ${restarted} restarted`];
}
