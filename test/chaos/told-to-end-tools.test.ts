import { expect, it } from 'vitest';
import { auditBooks, journalOf, runOf } from './audit.ts';
import { answerApproval, pendingApprovals } from './client.ts';
import { type Cluster, until, type WorkerProcess } from './cluster.ts';
import { onEachDatabase } from './databases.ts';

/** So long that nobody could have waited for one to run out. */
const longLease = { leaseMs: 60_000, heartbeatMs: 250, pollMs: 100 };
const drainMs = 1_000;

async function start(worker: WorkerProcess, tool: string, name: string, waitMs: number): Promise<string> {
  const input = `${name} [[sim tools=${tool}(name="${name}",waitMs=${waitMs})]] [[sim say="{{result}}"]]`;
  const response = await fetch(`${worker.url}/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ agent: 'prober', input }),
  });
  return ((await response.json()) as { id: string }).id; // a run
}

const settled = (cluster: Cluster, id: string) =>
  until(`${id} to end`, async () => {
    const row = await runOf(cluster, id);
    return row !== null && ['completed', 'failed', 'cancelled'].includes(row.status) && row;
  });

onEachDatabase('a process that is told to end while tools run', { drainMs, bus: 'memory' }, (use) => {
  it('keeps what comes in time, and leaves the rest to others at once [verifies durability.drain.tool]', async (context) => {
    const cluster = use(context);
    const ending = await cluster.start({ runs: longLease, claimsNothing: true });
    const inTime = await start(ending, 'probe_pay', 'soon', 400);
    const runs = { read: await start(ending, 'probe_read', 'read', 20_000), put: await start(ending, 'probe_put', 'put', 20_000) };
    const pay = await start(ending, 'probe_pay', 'late', 20_000);
    const all = [inTime, ...Object.values(runs), pay];
    await until('all tools to run', async () => {
      const journals = await Promise.all(all.map((id) => journalOf(cluster, id)));
      return journals.every((events) => events.some(({ type }) => type === 'tool.started'));
    });
    ending.signal('SIGTERM');
    expect(await ending.ended).toBe(0);
    // Nothing is left to it that only the end of its lease would free.
    expect((await Promise.all(all.map((id) => runOf(cluster, id)))).map((row) => row?.leaseOwner)).toEqual(all.map(() => null));

    const next = await cluster.start({ runs: longLease });
    for (const id of Object.values(runs))
      await until(`${id} to be taken up`, async () => (await runOf(cluster, id))?.status === 'running', 10_000);
    expect(await settled(cluster, inTime)).toMatchObject({ status: 'completed', output: 'soon done' });
    expect(cluster.effects().filter(({ probe }) => probe === 'soon')).toHaveLength(1);
    // Whether it was paid is not known: a person is asked, and nobody pays twice.
    const question = await until('the question', async () => (await pendingApprovals(next.url)).get(pay as never));
    expect(cluster.effects().filter(({ probe }) => probe === 'late')).toEqual([]);
    expect(await answerApproval(next.url, question.id, { decision: 'done', result: 'it was not' })).toBe(200);
    expect(await settled(cluster, pay)).toMatchObject({ status: 'completed', output: 'it was not' });
    for (const id of Object.values(runs)) {
      await fetch(`${next.url}/v1/runs/${id}/cancel`, { method: 'POST' });
      expect((await settled(cluster, id)).status).toBe('cancelled');
    }
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);
});
