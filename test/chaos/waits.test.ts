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

onEachDatabase('a run that waits for its client', {}, (use) => {
  it('goes on once with the result, in a process that was not there when it began to wait [verifies client-tools.waits client-tools.results]', async (context) => {
    const cluster = use(context);
    const first = await cluster.start();
    const clientTools = [{ name: 'pick', description: 'the user picks a file' }];
    const input = '[[sim say="Waiting." tools=pick(kind="ts"),probe_read(name="beside")]]\n[[sim say="Picked {{results}}"]]';
    const agent = { name: 'picker', models: ['sim/sim-large'], tools: ['probe_read'], policy: { allow: ['pick', 'probe_read'] } };
    await send('POST', `${first.url}/v1/agents`, agent);
    const request = { agent: 'picker', input, clientTools };
    const seen = startAndFollow({ first: first.url, urls: cluster.urls, request, idempotencyKey: 'picker' });
    const runId = await until('the run to wait', async () => {
      const page = (await (await fetch(`${first.url}/v1/runs?status=waiting`)).json()) as {
        data: { id: string; waitingFor?: { reason: string } }[];
      };
      return page.data.find(({ waitingFor }) => waitingFor?.reason === 'client')?.id;
    });
    await first.kill();

    const second = await cluster.start({ claimsNothing: true });
    const calls = (await (await fetch(`${second.url}/v1/runs/${runId}/tool-results`)).json()) as { data: { callId: string }[] };
    const url = `${second.url}/v1/runs/${runId}/tool-results/${calls.data[0]?.callId}`;
    await send('PUT', url, { output: 'main.ts' });
    await second.kill();

    const third = await cluster.start();
    const followed = await seen;
    expect(await auditRun(cluster, followed, { output: 'Picked main.ts\nbeside done' })).toEqual([]);
    await send('PUT', `${third.url}/v1/runs/${runId}/tool-results/${calls.data[0]?.callId}`, { output: 'main.ts' });
    const journal = await journalOf(cluster, runId);
    for (const type of ['tool.started', 'tool.completed'] as const)
      expect(journal.filter((event) => event.type === type && event.data.name === 'pick')).toHaveLength(1);
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);
});

async function send(method: string, url: string, body: unknown): Promise<void> {
  const response = await fetch(url, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${method} ${url} answered ${response.status}: ${await response.text()}`);
}
