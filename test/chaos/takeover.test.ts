import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { auditBooks, auditRun, journalOf, runOf } from './audit.ts';
import { pendingApprovals } from './client.ts';
import { steadyLease, until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';
import { startAndFollow } from './follower.ts';
import { probeAnswer, probeRequest } from './task.ts';

onEachDatabase('a process that is lost', { alone: true }, (use) => {
  it('is replaced within 5 s under the default lease [verifies durability.takeover]', async (context) => {
    const cluster = use(context);
    const victim = await cluster.start({ holds: 'asked', runs: {} });
    await cluster.start({ runs: {} });
    // A machine that stands still for as long as the lease of the product takes the run from who is to hold it: then once more.
    const begin = async (attempt: number) => {
      const idempotencyKey = `takeover-${attempt}`;
      const request = probeRequest(`hold=tool:a1:entered ${idempotencyKey}`);
      const following = startAndFollow({ first: victim.url, urls: cluster.urls, request, idempotencyKey });
      const holding = until('holding the run', () => victim.held.size === 1);
      holding.catch(() => undefined); // nobody waits for it where the run is done elsewhere
      const isHeld = await Promise.race([holding, following.then(() => false)]);
      return isHeld ? { following } : null;
    };
    const held = (await begin(1)) ?? (await begin(2)) ?? (await begin(3));
    if (held === null) throw new Error('the machine is too slow to hold a run under the default lease');
    const { following } = held;
    const killedAt = Date.now();
    await victim.kill();
    const seen = await following;
    expect(await auditRun(cluster, seen, { output: probeAnswer })).toEqual([]);
    const resumed = (await journalOf(cluster, seen.runId ?? '')).find((event) => event.type === 'run.resumed');
    expect((resumed?.at ?? Number.POSITIVE_INFINITY) - killedAt).toBeLessThanOrEqual(5000);
  }, 60_000);

  it('is followed by the run that was queued behind its own [verifies session.queue.race]', async (context) => {
    const cluster = use(context);
    const victim = await cluster.start({ holds: 'asked', runs: {} });
    const other = await cluster.start({ runs: {} });
    const send = async (url: string, path: string, body: unknown) => {
      const response = await fetch(`${url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      return (await response.json()) as { id: string; waitingFor?: unknown }; // a session or a run
    };
    const { id: sessionId } = await send(victim.url, '/v1/sessions', { agent: 'prober' });
    const first = await send(victim.url, '/v1/runs', { ...probeRequest('hold=tool:a1:entered'), sessionId });
    await until('holding the run', () => victim.held.size === 1);
    const second = await send(other.url, '/v1/runs', { ...probeRequest('next'), sessionId });
    expect(second.waitingFor).toEqual({ reason: 'session', behind: first.id });
    await victim.kill();
    await until('both to be completed', async () => {
      const rows = await Promise.all([first, second].map(({ id }) => runOf(cluster, id)));
      return rows.every((row) => row?.status === 'completed');
    });
    const ends = (await journalOf(cluster, first.id)).at(-1)?.at ?? Number.POSITIVE_INFINITY;
    const begins = (await journalOf(cluster, second.id)).find((event) => event.type === 'run.started');
    expect(begins?.at).toBeGreaterThanOrEqual(ends);
    expect(begins?.data.reading?.runs.map(({ runId }) => runId)).toEqual([first.id]);
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);
});

onEachDatabase('a process that is paused for longer than its lease', {}, (use) => {
  it('cannot write once others took its runs, and goes on to serve new ones [verifies durability.fencing]', async (context) => {
    const cluster = use(context);
    const paused = await cluster.start({ holds: 'asked', runs: steadyLease });
    const other = await cluster.start({ runs: steadyLease });
    const points = [
      'before:model.completed:1',
      'model:2:streaming',
      'tool:a1:entered',
      'tool:b2:effected',
      'before:tool.completed:a2',
      'before:model.completed:3',
    ];
    const following = Promise.all(
      points.map((point) =>
        startAndFollow({ first: paused.url, urls: cluster.urls, request: probeRequest(`hold=${point}`), idempotencyKey: point }),
      ),
    );
    await Promise.race([following, until('holding every run', () => paused.held.size === points.length)]);
    const runIds = [...paused.held.keys()];
    await cluster.pause(paused);
    await until('the other process to finish them', async () => {
      const rows = await Promise.all(runIds.map((runId) => runOf(cluster, runId)));
      return rows.every((row) => row?.status === 'completed');
    });
    const before = await Promise.all(runIds.map((runId) => journalOf(cluster, runId)));
    paused.signal('SIGCONT');
    paused.release();

    const pausedId = before[0]?.find((event) => event.type === 'run.started')?.data.workerId;
    await until('the revived process to drive a new run', async () => {
      const name = `new ${performance.now()}`;
      const seen = await startAndFollow({
        urls: () => [paused.url],
        request: probeRequest(name),
        idempotencyKey: name.replace(' ', '-'),
      });
      expect(await auditRun(cluster, seen, { output: probeAnswer })).toEqual([]);
      const started = (await journalOf(cluster, seen.runId ?? '')).find((event) => event.type === 'run.started');
      return started?.data.workerId === pausedId;
    });
    for (const seen of await following) expect(await auditRun(cluster, seen, { output: probeAnswer })).toEqual([]);
    expect(await Promise.all(runIds.map((runId) => journalOf(cluster, runId)))).toEqual(before);
    expect(await auditBooks(cluster)).toEqual([]);
    expect(paused.running && other.running).toBe(true);
    expect(paused.log()).not.toContain('inside the engine');
    await Promise.all([paused.kill(), other.kill()]);
  }, 60_000);

  it('cannot write either while the next owner has written nothing yet [verifies durability.fencing]', async (context) => {
    const cluster = use(context);
    const paused = await cluster.start({ holds: 'asked', runs: steadyLease });
    const points = ['before:model.completed:2', 'before:tool.completed:b1', 'before:tool.completed:a2', 'model:3:streaming'];
    const following = Promise.all(
      points.map((point) =>
        startAndFollow({
          first: paused.url,
          urls: cluster.urls,
          request: probeRequest(`hold=${point} next`),
          idempotencyKey: `next-${point}`,
        }),
      ),
    );
    await Promise.race([following, until('holding every run', () => paused.held.size === points.length)]);
    const runIds = [...paused.held.keys()];
    await cluster.pause(paused);
    const next = await cluster.start({ holds: 'resumed', runs: steadyLease });
    await until('the next owner to hold every run', () => runIds.every((runId) => next.held.has(runId)));
    const before = await Promise.all(runIds.map((runId) => journalOf(cluster, runId)));
    paused.signal('SIGCONT');
    paused.release();
    // A run of its own that ends later than what was held: by then every late write has been tried.
    await startAndFollow({ urls: () => [paused.url], request: probeRequest('afterwards', 300), idempotencyKey: 'afterwards' });
    expect(await Promise.all(runIds.map((runId) => journalOf(cluster, runId)))).toEqual(before);
    next.release();
    for (const seen of await following) expect(await auditRun(cluster, seen, { output: probeAnswer })).toEqual([]);
    expect(await auditBooks(cluster)).toEqual([]);
    await Promise.all([paused.kill(), next.kill()]);
  }, 60_000);

  it('goes on where it was when nobody replaced it', async (context) => {
    const cluster = use(context);
    const alone = await cluster.start();
    const following = startAndFollow({
      urls: cluster.urls,
      request: { agent: 'prober', input: '[[sim tools=probe_pay(name="slow",barrier="wake")]] [[sim say="{{result}}"]]' },
      idempotencyKey: 'alone',
    });
    await until('the effect', () => cluster.effects().some((effect) => effect.probe === 'slow'));
    for (let round = 0; round < 3; round++) {
      alone.signal('SIGSTOP');
      await sleep(1300);
      alone.signal('SIGCONT');
      await sleep(400);
    }
    expect((await pendingApprovals(alone.url)).size).toBe(0);
    cluster.release('wake');
    const seen = await following;
    expect(await auditRun(cluster, seen, { output: 'slow done' })).toEqual([]);
    expect(seen.types).not.toContain('run.resumed');
    await alone.kill();
  }, 60_000);
});

onEachDatabase('a process that is told to end', { drainMs: 1500, tokensPerSecond: 40 }, (use) => {
  it('hands its runs over, repeats nothing that could finish, and exits 0 in time [verifies durability.drain]', async (context) => {
    const cluster = use(context);
    const ending = await cluster.start();
    const tool = (name: string, barrier: string) =>
      `${name}: [[sim tools=probe_put(name="${name}",barrier="${barrier}")]] [[sim say="{{result}}"]]`;
    const start = (name: string, input: string) =>
      startAndFollow({ first: ending.url, urls: cluster.urls, request: { agent: 'prober', input }, idempotencyKey: name });
    const [inTool, inModel, stuck] = [
      start('quick', tool('quick', 'quick')),
      start('talk', 'talk: [[sim say="word" tokens=30 tools=probe_put(name="after-talk")]] [[sim say="{{result}}"]]'),
      start('stuck', tool('stuck', 'stuck')),
    ];
    await until('both effects', () => ['quick', 'stuck'].every((name) => cluster.effects().some((effect) => effect.probe === name)));
    await cluster.start();
    const toldAt = performance.now();
    ending.signal('SIGTERM');
    cluster.release('quick');
    expect(await ending.ended).toBe(0);
    // The bound for live work, the grace for what does not stop, and the time of a busy machine.
    expect(performance.now() - toldAt).toBeLessThan(1500 + 2000 + 3000);
    cluster.release('stuck');
    expect(await auditRun(cluster, await inTool, { output: 'quick done' })).toEqual([]);
    expect(await auditRun(cluster, await inModel, { output: 'after-talk done' })).toEqual([]);
    expect(await auditRun(cluster, await stuck, { output: 'stuck done' })).toEqual([]);
    for (const seen of [await inTool, await inModel]) expect(seen.types).not.toContain('step.restarted');
    expect((await inTool).types).toContain('run.resumed');
    expect(cluster.effects().filter((effect) => effect.probe === 'quick')).toHaveLength(1);
    expect(
      cluster
        .effects()
        .filter((effect) => effect.probe === 'stuck')
        .map((effect) => effect.attempt),
    ).toEqual([1, 2]);
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);
});
