/**
 * What a call of a tool takes, by where the tool runs and by the way that the call comes: the first call and later ones, calls a second,
 * CPU of a call, and memory of what it runs in.
 *
 *   node --conditions=nexus-source bench/tools.ts [--calls 200] [--lanes 8]
 *
 * A tool does next to nothing, so that what is measured is everything around it. Below `in process` there is no policy and no budget: the
 * tool service alone. Over HTTP, to a worker and by MCP a call has all of it. CPU is that of this process and its threads, callers
 * among them; what a jailed program takes is not in it.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNexusClient, defineTool, serveTools } from '@nexus-agent/sdk';
import { resolveConfig } from '../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../packages/server/src/apps/index.ts';
import { systemClock, systemTimers } from '../packages/server/src/core/index.ts';
import { silentLogger } from '../packages/server/src/telemetry/testing/index.ts';
import {
  checkPackage,
  createJail,
  createPluginTools,
  createSandbox,
  createToolService,
  createWasmSandbox,
  createWorkspaces,
  type Tool,
  type ToolService,
} from '../packages/server/src/tools/index.ts';
import { createBuiltinTools } from '../packages/server/src/tools/sources/index.ts';
import { makeTool, makeToolCall, plainFolders, readCall } from '../packages/server/src/tools/testing/index.ts';
import { createRemoteTools, startToolServer } from '../packages/server/src/tools/wire/index.ts';
import { connectMcp } from '../test/e2e/support/mcp-client.ts';
import { readArguments } from './support/arguments.ts';
import { createClient } from './support/client.ts';
import { inLanes } from './support/processes.ts';
import { type Figure, percentile, report } from './support/report.ts';

const { values } = readArguments({ options: { calls: { type: 'string', default: '200' }, lanes: { type: 'string', default: '8' } } });
const calls = Number(values.calls);
const lanes = Number(values.lanes);
const mebibyte = 1024 * 1024;
const figures: Figure[] = [];
const notes: string[] = [];
const folder = mkdtempSync(join(tmpdir(), 'nexus-bench-tools-'));

const sum = ({ busy, idle }: { busy: number; idle: number }) => busy + idle;
const noThreads = () => ({ busy: 0, idle: 0 });

/** One of a kind after the other, then as many at a time as there are lanes. */
async function measure(name: string, count: number, call: () => Promise<unknown>, load = noThreads): Promise<void> {
  const startedAt = performance.now();
  await call();
  const firstMs = performance.now() - startedAt;
  for (let index = 0; index < Math.min(count, 20); index++) await call();
  const [rss, threads] = [process.memoryUsage.rss(), sum(load())];
  await inLanes(lanes, lanes * 5, async () => void (await call()));
  const started = sum(load()) - threads;
  const grownMiB = (process.memoryUsage.rss() - rss) / mebibyte;
  const times: number[] = [];
  for (let index = 0; index < count; index++) {
    const before = performance.now();
    await call();
    times.push(performance.now() - before);
  }
  const cpu = process.cpuUsage();
  const elapsedMs = await inLanes(lanes, count, async () => void (await call()));
  const { user, system } = process.cpuUsage(cpu);
  figures.push(
    { name: `${name}: first call`, value: firstMs, unit: 'ms' },
    { name: `${name}: later calls, p50`, value: percentile(times, 0.5), unit: 'ms' },
    { name: `${name}: later calls, p95`, value: percentile(times, 0.95), unit: 'ms' },
    { name: `${name}: ${lanes} at a time`, value: (count / elapsedMs) * 1_000, unit: '/s' },
    { name: `${name}: CPU of a call`, value: (user + system) / count / 1_000, unit: 'ms' },
  );
  if (started > 0) figures.push({ name: `${name}: memory of a further warm thread`, value: grownMiB / started, unit: 'MiB' });
}

let callNumber = 0;
async function through(service: ToolService, toolName: string, input: Record<string, unknown>): Promise<void> {
  const runId = `run_${++callNumber}`;
  const end = await readCall(service, makeToolCall({ toolName, input, runId, callId: runId, idempotencyKey: runId, timeoutMs: 60_000 }));
  if (end.type !== 'completed') throw new Error(`${toolName} ended as ${JSON.stringify(end)}`);
}

const lookup: Tool = makeTool({ name: 'lookup', execute: async () => ({ type: 'ok', output: 'found' }) });

async function measureTiers(): Promise<void> {
  const config = resolveConfig({ env: {}, flags: { dataDir: folder } });
  const parts = { clock: systemClock, timers: systemTimers };
  const workspaces = createWorkspaces();
  const sandbox = createSandbox({ ...parts, maxThreads: 4 });
  const modules = createWasmSandbox({ ...parts, maxThreads: 4 });
  const { maxJails, spareJails, maxQueued, maxWaitMs, bubblewrap, user, readOnly, tmpBytes, network, ...limits } = config.sandbox.jail;
  const jail = createJail({ ...parts, bubblewrap, user, readOnly, tmpBytes });
  const turns = { maxJails, spareJails, maxQueued, maxWaitMs };
  const states = { keep: () => Promise.reject(new Error('nothing waits')), read: () => Promise.reject(new Error('nothing waits')) };
  const artifacts = {
    store: { getArtifact: async () => null, listArtifacts: async () => ({ items: [], nextCursor: null }) },
    blobs: { get: () => Promise.reject(new Error('nothing is kept')) as never },
    maxOutputChars: config.tools.maxOutputChars,
  };
  const builtin = createBuiltinTools({
    ...parts,
    artifacts,
    sandbox,
    workspaces,
    states,
    http: {},
    jailed: { ...parts, jail, limits, ...turns, network: { ...network, egress: {} } },
  });
  const ofExample = (file: string) => [file, readFileSync(join(import.meta.dirname, '../examples/plugins/text-stats', file))] as const;
  const plugin = await checkPackage(new Map(['plugin.yaml', 'text-stats.wasm'].map(ofExample)));
  const bytes = [...plugin.files].map(([file, content]) => [file, { sha256: plugin.manifest.files[file] ?? '', bytes: content }] as const);
  const ofPlugin = createPluginTools(plugin.manifest, new Map(bytes), { sandbox: modules, workspaces, fetchTool: null });
  const tools = [lookup, ...builtin, ...ofPlugin];
  const service = createToolService({ ...parts, sources: [{ tools: async () => tools }], folders: plainFolders(async () => folder) });
  try {
    await measure('function, in process', calls * 10, () => through(service, 'lookup', {}));
    await measure('T0 code_js, in process', calls, () => through(service, 'code_js', { code: '1 + 1' }), sandbox.load);
    await measure('T1 plugin, in process', calls, () => through(service, 'text_stats', { text: 'a b c' }), modules.load);
    const refusal = await jail.refusal();
    if (refusal === null)
      await measure('T2 shell, in process', Math.ceil(calls / 10), () => through(service, 'shell', { command: 'true' }));
    else notes.push(`T2 is not measured: ${refusal}`);
    await measureGrpc(service);
  } finally {
    await service.close();
    await Promise.all([sandbox.close(), modules.close(), jail.close()]);
  }
}

async function measureGrpc(service: ToolService): Promise<void> {
  const token = 'a-token-of-the-bench';
  const bounds = { maxMessageBytes: mebibyte, keepaliveMs: 30_000 };
  const server = await startToolServer({
    ...{ service, timers: systemTimers, host: '127.0.0.1', port: 0, token, maxCalls: 100, maxConnections: 10, unreadMs: 10_000 },
    ...{ ...bounds, onTrouble: () => undefined },
  });
  const remote = createRemoteTools({
    ...{ clock: systemClock, timers: systemTimers, address: `127.0.0.1:${server.port}`, token, connectTimeoutMs: 5_000 },
    ...{ ...bounds, onTrouble: () => undefined, onLost: () => undefined, onBack: () => undefined },
  });
  await measure('function, by gRPC', calls * 5, () => through(remote, 'lookup', {}));
  await remote.close();
  await server.close(0);
}

async function measureServer(): Promise<void> {
  const flags = { dataDir: join(folder, 'server'), port: 0, auth: { local: 'open' }, log: { level: 'error' } } as const;
  const app = await startAllInOne({ version: 'bench', config: resolveConfig({ env: {}, flags }), tools: [lookup], logger: silentLogger });
  const http = createClient(app.url, lanes);
  const tools = ['lookup', 'remote_lookup'];
  await http.post('/v1/agents', JSON.stringify({ name: 'bench', models: ['sim/sim-large'], tools, policy: { allow: tools } }));
  const session = await http.post('/v1/sessions', JSON.stringify({ agent: 'bench' }));
  const sessionId: unknown = JSON.parse(session.text).id;
  const execute = async (tool: string) => {
    const { status, text } = await http.post(`/v1/tools/${tool}/execute`, JSON.stringify({ sessionId, input: {} }));
    if (status !== 200 || JSON.parse(text).status !== 'ok') throw new Error(`${tool} was answered with ${status}: ${text}`);
  };
  const remote = defineTool({
    ...{ name: 'remote_lookup', description: 'for the bench', input: { type: 'object' }, effects: 'none', permissions: [] },
    execute: () => 'found',
  });
  const worker = serveTools(createNexusClient({ baseUrl: app.url }), [remote], { name: 'bench', maxConcurrent: lanes });
  const mcp = await connectMcp(`${app.url}/mcp?agent=bench`, { revision: '2026-07-28' });
  try {
    await worker.ready;
    await measure('function, over HTTP', calls, () => execute('lookup'));
    await measure('worker, over HTTP', calls, () => execute('remote_lookup'));
    await measure('function, by MCP over HTTP', calls, async () => {
      const answer = await mcp.client.callTool({ name: 'lookup', arguments: {} });
      if (answer.isError === true) throw new Error(JSON.stringify(answer));
    });
  } finally {
    await mcp.close();
    await worker.close({ graceMs: 0 });
    await http.close();
    await app.close();
  }
}

try {
  await measureTiers();
  await measureServer();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
report('tools', figures, notes);
