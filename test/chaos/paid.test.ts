import { expect, it } from 'vitest';
import { auditBooks, auditReservations, journalOf, runOf } from './audit.ts';
import { type Cluster, until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';

/** Starts a run of the prober at a process; answers its id. */
async function start(url: string, input: string, budget: object): Promise<string> {
  const response = await fetch(`${url}/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ agent: 'prober', input, budget }),
  });
  return ((await response.json()) as { id: string }).id; // of a run
}

async function problemsOf(cluster: Cluster, runId: string): Promise<string[]> {
  return [...(await auditReservations(cluster, runId as never, await journalOf(cluster, runId))), ...(await auditBooks(cluster))];
}

onEachDatabase('what a kill cuts off', { tokensPerSecond: 150 }, (use) => {
  it('is paid for each time that it may have reached the world, and refused when the budget has no more [verifies budget.repeat.counted budget.totals.ledger]', async (context) => {
    const cluster = use(context);
    const effects = () => cluster.effects().filter(({ probe }) => probe === 'repeated').length;
    let worker = await cluster.start();
    const input = '[[sim tools=probe_put(name="repeated",barrier="never")]] [[sim say="{{result}}"]]';
    const runId = await start(worker.url, input, { toolCalls: 2 });
    for (const made of [1, 2]) {
      await until(`effect ${made}`, () => effects() === made);
      const next = await cluster.start();
      await worker.kill();
      worker = next;
    }
    const row = await until('the run to end', async () => {
      const found = await runOf(cluster, runId);
      return found?.status === 'failed' && found;
    });
    expect(row.error).toMatchObject({ code: 'budget_exceeded', details: { unit: 'toolCalls', limit: 2, asked: 1, available: 0 } });
    expect(effects()).toBe(2);
    expect(row.totals.toolCalls).toBe(2);
    expect(await problemsOf(cluster, runId)).toEqual([]);
  }, 60_000);

  it('is charged for what had come and may have been on its way, not for all that it might have used [verifies budget.kill.bounded]', async (context) => {
    const cluster = use(context);
    const victim = await cluster.start();
    const runId = await start(victim.url, '[[sim say="word" tokens=3000]]', { tokens: 12_000 });
    const started = await until('the model call', async () =>
      (await journalOf(cluster, runId)).find(({ type }) => type === 'model.started'),
    );
    if (started.type !== 'model.started') throw new Error('another event was looked for');
    const { callId, inputTokens = 0, reservationId } = started.data;
    const billed = () => cluster.simulator.stats().chunks.get(callId) ?? 0;
    await until('some of the answer', () => billed() >= 240);
    await victim.kill();
    await until('the simulator to see it', () => cluster.simulator.stats().activeRequests === 0);
    const made = billed();
    const next = await cluster.start();
    const settled = await until('the charge', async () =>
      (await journalOf(cluster, runId)).find((event) => event.type === 'budget.settled' && event.data.reservationId === reservationId),
    );
    if (settled.type !== 'budget.settled') throw new Error('another event was looked for');
    expect(settled.data.outcome).toBe('charged_maximum');
    const charged = settled.data.amounts.tokens ?? 0;
    expect(charged).toBeGreaterThanOrEqual(inputTokens + made);
    expect(charged).toBeLessThan(inputTokens + 3 * made + 600);
    await fetch(`${next.url}/v1/runs/${runId}/cancel`, { method: 'POST' });
    await until('the run to end', async () => (await runOf(cluster, runId))?.status === 'cancelled');
    expect(await problemsOf(cluster, runId)).toEqual([]);
  }, 60_000);
});
