import { AgentDefinition } from '@nexus-agent/protocol';
import { createNexusClient, defineTool, serveTools } from '@nexus-agent/sdk';
import { expect, it, type TestContext } from 'vitest';
import { auditBooks, journalOf, runOf } from './audit.ts';
import { type Cluster, steadyLease, until, type WorkerProcess } from './cluster.ts';
import { onEachDatabase } from './databases.ts';

const clerk = AgentDefinition.parse({
  name: 'clerk',
  instructions: 'Do as you are told.',
  models: ['sim/sim-large'],
  tools: ['pay'],
  policy: { allow: ['pay'] },
});
const clientOf = ({ url }: WorkerProcess) => createNexusClient({ baseUrl: url, retry: { baseMs: 20, maxMs: 200 } });

/** A worker at one process holds what takes effect once, for a run that another process drives. */
async function begin(cluster: Cluster, { onTestFinished }: TestContext) {
  const other = await cluster.start({ runs: steadyLease, claimsNothing: true });
  const held: { readonly signal: AbortSignal; done(output: string): void }[] = [];
  const pay = defineTool({
    ...{ name: 'pay', description: 'Pays.', effects: 'once', input: { type: 'object' } },
    execute: (_input, { signal }) => new Promise((resolve) => held.push({ signal, done: resolve })),
  });
  const worker = serveTools(clientOf(other), [pay], { name: 'payers' });
  onTestFinished(() => worker.close({ graceMs: 0 }));
  await worker.ready;
  const driver = await cluster.start({ runs: steadyLease });
  await until('the tool to be known', async () => (await clientOf(driver).tools.list()).data.some(({ name }) => name === 'pay'));
  const { id } = await clientOf(driver).runs.create({ agent: 'clerk', input: '[[sim tools=pay(to="ada")]] [[sim say="{{result}}"]]' });
  const call = await until('the worker to have it', () => held[0] ?? false);
  return { driver, id, call, held };
}

/** The run has ended as if nothing had been lost: one attempt, one payment, nobody asked. */
async function endedOnce(cluster: Cluster, id: string, output: string) {
  await until(`${id} to complete`, async () => (await runOf(cluster, id))?.status === 'completed', 30_000);
  expect(await runOf(cluster, id)).toMatchObject({ output });
  const types = (await journalOf(cluster, id)).map(({ type }) => type);
  expect(types.filter((type) => type === 'tool.started')).toHaveLength(1);
  expect(types).toContain('run.resumed');
  expect(types).not.toContain('approval.requested');
  expect(await auditBooks(cluster)).toEqual([]);
}

onEachDatabase('a worker whose run loses its process', { agents: [clerk], drainMs: 20_000 }, (use) => {
  for (const when of ['after', 'before'])
    it(`goes on, and its answer counts when it comes ${when} another process has the run [verifies workers.restart]`, async (context) => {
      const cluster = use(context);
      const { driver, id, call, held } = await begin(cluster, context);
      await driver.kill();
      if (when === 'before') call.done('paid');
      await cluster.start({ runs: steadyLease });
      if (when === 'after') {
        await until(
          'the run to be taken up',
          async () => (await journalOf(cluster, id)).some(({ type }) => type === 'run.resumed'),
          30_000,
        );
        call.done('paid');
      }
      await endedOnce(cluster, id, 'paid');
      expect(call.signal.aborted).toBe(false);
      expect(held).toHaveLength(1);
    }, 60_000);

  it('is not waited for by a process that is told to end [verifies workers.restart]', async (context) => {
    const cluster = use(context);
    const { driver, id, call, held } = await begin(cluster, context);
    const toldAt = performance.now();
    driver.signal('SIGTERM');
    expect(await driver.ended).toBe(0);
    expect(performance.now() - toldAt).toBeLessThan(12_000); // it may take 20 s
    await cluster.start({ runs: steadyLease });
    await until('the run to be taken up', async () => (await journalOf(cluster, id)).some(({ type }) => type === 'run.resumed'), 30_000);
    call.done('paid');
    await endedOnce(cluster, id, 'paid');
    expect(call.signal.aborted).toBe(false);
    expect(held).toHaveLength(1);
  }, 90_000);

  it('is not told to stop by the process that stood still meanwhile [verifies workers.restart]', async (context) => {
    const cluster = use(context);
    const { driver, id, call, held } = await begin(cluster, context);
    await cluster.pause(driver);
    await cluster.start({ runs: steadyLease });
    await until('the run to be taken up', async () => (await journalOf(cluster, id)).some(({ type }) => type === 'run.resumed'), 30_000);
    driver.signal('SIGCONT');
    await until('it to find that the run is another’s', () => driver.log().includes('others may have taken its runs over'), 30_000);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(call.signal.aborted).toBe(false);
    call.done('paid');
    await endedOnce(cluster, id, 'paid');
    expect(held).toHaveLength(1);
  }, 90_000);
});
