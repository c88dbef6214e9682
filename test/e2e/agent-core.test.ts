import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, expect, it, vi } from 'vitest';
import { type ConfigInput, resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { startAgentCore } from '../../packages/server/src/apps/index.ts';
import { startCoreProcess, startProbingCore } from './support/core-process.ts';
import { startTestServer } from './support/server.ts';
import { readStream } from './support/stream.ts';

const folder = mkdtempSync(join(tmpdir(), 'nexus-core-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

let folders = 0;
const newFolder = () => join(folder, String(++folders));

async function startCore(flags: ConfigInput) {
  const core = await startAgentCore({
    config: resolveConfig({ env: {}, flags: { log: { level: 'silent' }, drainMs: 1_000, ...flags, grpc: { port: 0, ...flags.grpc } } }),
    version: '0.0.0-test',
  });
  closers.push(() => core.close());
  return core;
}

async function startOrchestrator(dataDir: string, address: string, tools: ConfigInput['tools'] = {}) {
  const server = await startTestServer({
    dataDir,
    config: { tools: { ...tools, remote: { address, connectTimeoutMs: 2_000, ...tools.remote } } },
  });
  closers.push(() => server.close());
  return server;
}

it('keeps a result that is too long, with the run that drives it [verifies tools.wire.process tools.artifacts.kept]', async () => {
  const dataDir = newFolder();
  const core = await startCore({ dataDir, tools: { maxOutputChars: 1_000 } });
  const server = await startOrchestrator(dataDir, core.address);
  await server.agent('worker');
  const sessionId = await server.session({ agent: 'worker' });
  const { events } = await server.finish({ sessionId, input: `[[sim tools=code_js(code="'x'.repeat(5000)")]] [[sim say="done"]]` });
  const data = events.find((event) => event.type === 'tool.completed')?.data;
  expect(data).toMatchObject({ status: 'ok', artifact: { mediaType: 'text/plain', whole: true } });
  const id = data?.artifact?.id ?? '';
  expect(data?.output).toContain(`artifact_read with id ${id}`);
  expect((await server.call('GET', `/v1/artifacts/${id}/content`)).body).toContain('x'.repeat(5_000));
  const read = await server.call('POST', '/v1/tools/artifact_read/execute', { sessionId, input: { id, offset: 0, limit: 3 } });
  expect(read.body).toMatchObject({ status: 'ok', output: expect.stringContaining('[characters 0 to 2 of 5') });
});

it('runs the tools of a run in another process, and commits here what they wrote [verifies tools.wire.process]', async () => {
  const dataDir = newFolder();
  const core = await startCore({ dataDir });
  const server = await startOrchestrator(dataDir, core.address);
  await server.agent('worker');
  const sessionId = await server.session({ agent: 'worker' });
  const write = '[[sim tools=fs_write(path="a.txt",content="from afar")]][[sim say="{{result}}"]]';
  const written = await server.finish({ sessionId, input: write });
  expect(written.run).toMatchObject({ status: 'completed' });
  expect(written.events.find(({ type }) => type === 'tool.completed')).toMatchObject({
    data: { status: 'ok', files: { of: sessionId, changed: [{ path: 'a.txt', bytes: 9 }] } },
  });
  const read = await server.finish({ sessionId, input: '[[sim tools=fs_read(path="a.txt")]][[sim say="{{result}}"]]' });
  expect(read.run.output).toContain('from afar');
  const kept = await server.call('GET', `/v1/sessions/${sessionId}/files/content?path=a.txt`);
  expect(kept).toMatchObject({ status: 200, body: 'from afar' });
  expect((await server.call('GET', '/v1/tools')).body.data.map(({ name }: { name: string }) => name)).toContain('code_js');
  // What the tool asks meanwhile is decided by this process.
  await server.agent('closed', { policy: { allow: ['http_fetch'] } });
  const asked = await server.finish({
    agent: 'closed',
    input: '[[sim tools=http_fetch(url="https://example.com/")]][[sim say="{{result}}"]]',
  });
  expect(asked.run.output).toContain('policy_denied');
  await server.verifyRuns();
}, 120_000);

it('serves nobody with another token, and starts on no address that others reach without one [verifies tools.wire.access]', async () => {
  const core = await startCore({ dataDir: newFolder() });
  const dataDir = newFolder();
  mkdirSync(join(dataDir, 'policies'), { recursive: true });
  writeFileSync(join(dataDir, 'policies', 'a.cedar'), 'forbid (principal, action == Action::"tool.execute", resource == Tool::"nope");');
  const server = await startOrchestrator(dataDir, core.address, { remote: { token: 'a token that is another'.replaceAll(' ', '-') } });
  expect(await server.call('GET', '/v1/tools')).toMatchObject({ status: 503, body: { code: 'unavailable' } });
  // What only looks at the names of tools goes on without them.
  expect(await server.call('POST', '/v1/agents', { name: 'worker', models: ['sim/sim-large'], tools: ['nope'] })).toMatchObject({
    body: { name: 'worker', warnings: [expect.stringContaining('cannot be listed')] },
  });
  for (const [grpc, message] of [
    [{ host: '0.0.0.0' }, /set grpc\.token/],
    [{ tls: { cert: 'a.pem' } }, /grpc\.tls\.cert: a\.pem cannot be read/],
    [{ tls: { cert: fileURLToPath(import.meta.url) } }, /is no PEM/],
  ] as const)
    await expect(startCore({ dataDir: newFolder(), grpc })).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(message),
    });
}, 60_000);

it('goes on with a run whose agent core was killed in mid-call, by the effects of its tools [verifies tools.wire.lost]', async () => {
  const dataDir = newFolder();
  const calls = join(folder, 'calls');
  const called = () => (existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n').sort() : []);
  const first = await startCoreProcess({ dataDir, grpc: { port: 0 } }, calls, closers);
  const server = await startOrchestrator(dataDir, `127.0.0.1:${first.port}`);
  await server.agent('worker');
  const runId = await server.start({ agent: 'worker', input: '[[sim tools=pay(),look()]][[sim say="{{results}}"]]' });
  await vi.waitFor(() => expect(called()).toEqual(['look 1', 'pay 1']), { timeout: 15_000, interval: 50 });
  await first.kill();

  await server.until(runId, 'waiting');
  const { data } = (await server.call('GET', '/v1/approvals?status=pending')).body;
  expect(data).toMatchObject([{ kind: 'unknown_outcome', runId }]);
  const looked = (await server.events(runId)).find(({ type }) => type === 'tool.completed');
  expect(looked).toMatchObject({ data: { status: 'error', error: { code: 'unavailable', retryable: true } } });

  await startCoreProcess({ dataDir, grpc: { port: first.port } }, calls, closers);
  expect(await server.call('POST', `/v1/approvals/${data[0].id}`, { decision: 'retry' })).toMatchObject({ status: 200 });
  const { output } = await server.until(runId, 'completed');
  expect(output).toContain('pay done');
  expect(called()).toEqual(['look 1', 'pay 1', 'pay 2']);
  await server.verifyRuns();
}, 120_000);

it('tells progress, stops what is cancelled, waits, and lets clients answer, with tools in another process [verifies tools.wire.process tools.wire.cancel]', async () => {
  const dataDir = newFolder();
  mkdirSync(dataDir, { recursive: true });
  const core = await startProbingCore({ dataDir, grpc: { port: 0 } }, dataDir, closers);
  const server = await startOrchestrator(dataDir, `127.0.0.1:${core.port}`);
  await server.agent('worker');
  const held = await server.start({ agent: 'worker', input: '[[sim tools=look(name="slow",barrier="never")]]' });
  const { frames } = await readStream(`${server.app.url}/v1/runs/${held}/events`, {
    headers: { accept: 'text/event-stream' },
    until: ({ event }) => event === 'tool.output',
  });
  expect(frames.at(-1)).toMatchObject({ event: 'tool.output', data: { data: { text: expect.stringContaining('slow waits') } } });
  await server.call('POST', `/v1/runs/${held}/cancel`, {});
  await server.until(held, 'cancelled');
  const running = async () => {
    const token = readFileSync(join(dataDir, 'local', 'agent-core.token'), 'utf8').trim();
    const answer = await fetch(`${core.watchUrl}/metrics`, { headers: { authorization: `Bearer ${token}` } });
    return /^nexus_tool_calls_total\{.*outcome="failed",error_type="cancelled"\} 1$/m.test(await answer.text());
  };
  await vi.waitFor(async () => expect(await running()).toBe(true), { timeout: 10_000, interval: 100 });

  const clientTools = [{ name: 'pick', description: 'for tests', inputSchema: { type: 'object' } }];
  const asked = await server.start({
    agent: 'worker',
    clientTools,
    input: '[[sim tools=look(name="a"),wait(seconds=1),pick()]] [[sim say="{{results}}"]]',
  });
  const { waitingFor } = await server.until(asked, 'waiting');
  const callId = waitingFor?.clientCalls?.[0] ?? '';
  expect(await server.call('PUT', `/v1/runs/${asked}/tool-results/${callId}`, { output: 'picked' })).toMatchObject({ status: 200 });
  const { output } = await server.until(asked, 'completed');
  expect(output).toMatch(/look a[\s\S]*picked/);
  await server.verifyRuns();
}, 90_000);
