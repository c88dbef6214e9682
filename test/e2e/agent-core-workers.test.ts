import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNexusClient, defineTool, serveTools } from '@nexus-agent/sdk';
import { afterAll, afterEach, expect, it } from 'vitest';
import { type CoreProcess, startProbingCore } from './support/core-process.ts';
import { startTestServer, type TestServer } from './support/server.ts';

const folder = mkdtempSync(join(tmpdir(), 'nexus-core-workers-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Held {
  readonly signal: AbortSignal;
  done(output: string): void;
}

let folders = 0;

/** A worker has a call that takes effect once, of a run whose tools are those of an agent core in a process of its own. */
async function begin() {
  const dataDir = join(folder, String(++folders));
  const lines: { readonly message: string; readonly fields: object }[] = [];
  const line = (fields: object, message: string) => void lines.push({ fields, message });
  const logger = { debug: () => undefined, info: line, warn: line, error: line, child: () => logger };
  const core = await startProbingCore({ dataDir, drainMs: 60_000, grpc: { port: 0 } }, folder, closers);
  const server = await startTestServer({
    ...{ dataDir, logger },
    config: { tools: { remote: { address: `127.0.0.1:${core.port}`, connectTimeoutMs: 2_000, keepaliveMs: 1_000 } } },
  });
  closers.push(() => server.close());
  await server.agent('clerk');
  const held: Held[] = [];
  const pay = defineTool({
    ...{ name: 'settle', description: 'Pays.', effects: 'once', input: { type: 'object' } },
    execute: (_input, { signal }) => new Promise((resolve) => held.push({ signal, done: resolve })),
  });
  const worker = serveTools(createNexusClient({ baseUrl: server.app.url }), [pay], { name: 'payers' });
  closers.push(() => worker.close({ graceMs: 0 }));
  await worker.ready;
  const isListed = async () =>
    (await server.call('GET', '/v1/tools')).body.data.some(({ name }: { readonly name: string }) => name === 'settle');
  await expect.poll(isListed, { timeout: 15_000, interval: 200 }).toBe(true);
  const runId = await server.start({ agent: 'clerk', input: '[[sim tools=settle(to="ada")]] [[sim say="{{result}}"]]' });
  await expect.poll(() => held.length, { timeout: 15_000 }).toBe(1);
  return { core, server, runId, call: held[0] as Held, held, lines }; // there is one
}

const ends: readonly [how: string, end: (core: CoreProcess) => unknown][] = [
  ['is killed', (core) => core.kill()],
  ['stands still', (core) => core.signal('SIGSTOP')],
];

it.each(ends)(
  'waits for a worker although the agent core %s meanwhile, and asks nobody [verifies tools.wire.lost workers.restart]',
  async (_how, end) => {
    const { core, server, runId, call, held } = await begin();
    await end(core);
    await new Promise((resolve) => setTimeout(resolve, 3_000)); // longer than the connection is tried
    expect(call.signal.aborted).toBe(false);
    call.done('paid');
    expect(await server.until(runId, 'completed', 'waiting')).toMatchObject({ status: 'completed', output: 'paid' });
    await endedOnce(server, runId);
    expect(held).toHaveLength(1);
  },
  60_000,
);

it('knows tools of workers that came while the agent core was away [verifies tools.wire.list]', async () => {
  const { core, server, held } = await begin();
  await core.kill();
  const late = defineTool({
    ...{ name: 'settle', description: 'Pays in another way.', input: { type: 'object' } },
    execute: () => 'paid in another way',
  });
  const worker = serveTools(createNexusClient({ baseUrl: server.app.url }), [late], { name: 'payers' });
  closers.push(() => worker.close({ graceMs: 0 }));
  await worker.ready;
  const { run } = await server.finish({ agent: 'clerk', input: '[[sim tools=settle()]] [[sim say="{{result}}"]]' });
  expect(run.output).toBe('paid in another way');
  expect(held).toHaveLength(1);
}, 60_000);

it('tells the worker to stop although the agent core is lost [verifies workers.cancel]', async () => {
  const { core, server, runId, call } = await begin();
  await core.kill();
  await server.call('POST', `/v1/runs/${runId}/cancel`, {});
  await server.until(runId, 'cancelled');
  await expect.poll(() => call.signal.aborted, { timeout: 5_000 }).toBe(true);
}, 60_000);

it('says in one line that the agent core is lost and what becomes of its calls, and when it is back [verifies tools.wire.lost]', async () => {
  const { core, server, lines } = await begin();
  const input = '[[sim tools=pay(name="a",barrier="never"),look(name="b",barrier="never")]] [[sim say="{{results}}"]]';
  const runId = await server.start({ agent: 'clerk', input });
  await expect.poll(async () => (await server.events(runId)).filter(({ type }) => type === 'tool.started').length).toBe(2);
  await new Promise((resolve) => setTimeout(resolve, 500));
  await core.kill();
  const lost = () => lines.filter(({ message }) => message.startsWith('the agent core is lost'));
  await expect.poll(() => lost().length, { timeout: 10_000 }).toBe(1);
  expect(lost()[0]).toMatchObject({
    message: expect.stringMatching(/under way there \(2\): 1 may have taken effect, and a person is asked; 1 can be tried again/),
    fields: { calls: 2, unknown: 1, failed: 1, tools: expect.arrayContaining(['pay', 'look']) },
  });
}, 60_000);

async function endedOnce(server: TestServer, runId: string): Promise<void> {
  const types = (await server.events(runId)).map(({ type }) => type);
  expect(types.filter((type) => type === 'tool.started')).toHaveLength(1);
  expect(types).not.toContain('approval.requested');
}
