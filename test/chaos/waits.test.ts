import { expect, it } from 'vitest';
import { auditBooks, auditRun, journalOf, runOf } from './audit.ts';
import { until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';
import { startAndFollow } from './follower.ts';

async function sleepers(url: string): Promise<number> {
  const page = (await (await fetch(`${url}/v1/runs?status=waiting`)).json()) as { data: { waitingFor?: { reason: string } }[] };
  return page.data.filter(({ waitingFor }) => waitingFor?.reason === 'timer').length;
}

onEachDatabase('a run that waits for a time', {}, (use) => {
  it('wakes once in a process that was not there when it fell asleep [verifies waits.timer]', async (context) => {
    const cluster = use(context);
    const first = await cluster.start();
    const input = '[[sim say="Waiting." tools=wait(seconds=3),probe_read(name="beside")]]\n[[sim say="Awake."]]';
    const seen = startAndFollow({ first: first.url, urls: cluster.urls, request: { agent: 'prober', input }, idempotencyKey: 'sleeper' });
    await until('the run to sleep', async () => (await sleepers(first.url)) === 1);
    await first.kill();

    await cluster.start();
    const followed = await seen;
    expect(await auditRun(cluster, followed, { output: 'Awake.' })).toEqual([]);
    const journal = await journalOf(cluster, followed.runId ?? '');
    const waits = journal.filter((event) => event.type === 'tool.started' && event.data.name === 'wait');
    expect(waits).toHaveLength(1);
    const ended = journal.filter((event) => event.type === 'tool.completed' && event.data.name === 'wait');
    expect(ended).toHaveLength(1);
    expect((await runOf(cluster, followed.runId ?? ''))?.status).toBe('completed');
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);
});
