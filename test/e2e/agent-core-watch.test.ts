import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { request } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { type ConfigInput, resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { startAgentCore } from '../../packages/server/src/apps/index.ts';
import type { Tool } from '../../packages/server/src/tools/index.ts';
import { makeTool, makeToolCall, readCall } from '../../packages/server/src/tools/testing/index.ts';
import { callTools, clientTls, serverTls, strangerTls } from '../../packages/server/src/tools/wire/testing/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'nexus-watch-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

let folders = 0;
const newFolder = () => join(folder, String(++folders));

async function startCore(grpc: ConfigInput['grpc'] = {}, tools: readonly Tool[] = [], more: ConfigInput = {}) {
  const flags = { dataDir: newFolder(), log: { level: 'silent' }, ...more, grpc: { port: 0, ...grpc } } as const;
  const core = await startAgentCore({ config: resolveConfig({ env: {}, flags }), version: '0.0.0-test', tools });
  closers.push(() => core.close());
  return core;
}

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const runToken = 'a-token-that-runs-tools';
const readToken = 'a-token-that-reads-metrics';

/** The program itself, as people start it. */
async function startProgram(env: Record<string, string>) {
  const program = fileURLToPath(new URL('../../packages/server/bin/nexus.mjs', import.meta.url));
  const args = ['--conditions=nexus-source', program, 'serve', '--role', 'agent-core', '--json'];
  const child = spawn(process.execPath, args, {
    ...{ cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] },
    env: { PATH: String(process.env.PATH), HOME: folder, NEXUS_LOG_LEVEL: 'info', ...env },
  });
  let err = '';
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  closers.push(() => {
    child.kill('SIGKILL');
    return ended;
  });
  const { address, metrics } = await new Promise<{ address: string; metrics: string }>((resolve, reject) => {
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
      if (out.endsWith('}\n')) resolve(JSON.parse(out));
    });
    child.once('exit', (code) => reject(new Error(`it ended with ${code}: ${err}`)));
  });
  return { child, ended, log: () => err, port: Number(address.split(':')[1]), url: new URL(metrics).origin };
}

const hasPromtool = spawnSync('promtool', ['--version']).status === 0;

it('tells its health and metrics beside its port, and both until it has drained [verifies tools.wire.watched]', async () => {
  const dataDir = newFolder();
  const file = join(folder, 'given.yaml');
  writeFileSync(file, 'drainMs: 20000\nhttpFetch: { allowPrivate: [127.0.0.1] }\n');
  const { child, ended, port, url, log } = await startProgram({
    ...{ NEXUS_DATA_DIR: dataDir, NEXUS_GRPC_PORT: '0', NEXUS_CONFIG: file },
  });
  const token = readFileSync(join(dataDir, 'local', 'agent-core.token'), 'utf8').trim();
  expect(new URL(url).hostname).toBe('127.0.0.1');
  expect(await (await fetch(`${url}/healthz`)).json()).toMatchObject({ status: 'ok' });
  expect(await (await fetch(`${url}/readyz`)).json()).toEqual({ status: 'ready' });
  const refused = await fetch(`${url}/metrics`);
  expect([refused.status, refused.headers.get('www-authenticate'), await refused.json()]).toMatchObject([
    401,
    'Bearer',
    { code: 'unauthenticated', detail: expect.stringContaining('grpc.metrics.token') },
  ]);
  expect((await fetch(`${url}/metrics`, bearer(`${token}x`))).status).toBe(401);

  // A call that is under way while it drains: its server answers when it is told to.
  const waiting: (() => void)[] = [];
  const slow = createServer(({ url: asked }, response) => {
    if (asked === '/call_1') response.end('at once');
    else waiting.push(() => response.end('in the end'));
  });
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
  closers.push(() => slow.close());
  const { port: slowPort } = slow.address() as AddressInfo; // it listens on TCP
  const tools = callTools(port, { token });
  closers.push(() => tools.close());
  const fetched = (callId: string) =>
    readCall(
      tools,
      makeToolCall({ callId, toolName: 'http_fetch', input: { url: `http://127.0.0.1:${slowPort}/${callId}` }, timeoutMs: 30_000 }),
    );
  expect(await fetched('call_1')).toMatchObject({ type: 'completed' });
  const fetching = fetched('call_2');
  await vi.waitFor(() => expect(waiting).toHaveLength(1), { timeout: 10_000 });

  const read = await fetch(`${url}/metrics`, bearer(token));
  const text = await read.text();
  expect(read.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  expect(text).toMatch(
    /^nexus_tool_calls_total\{gen_ai_tool_name="http_fetch",tier="[^"]+",source="built-in",outcome="completed",error_type=""\} 1$/m,
  );
  expect(text).toMatch(/^nexus_database_up 1$/m);
  if (hasPromtool) {
    const { stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
    const complaints = `${stdout}${stderr}`.split('\n').filter((line) => line !== '');
    expect(complaints).toEqual([]);
  }

  child.kill('SIGTERM');
  await vi.waitFor(async () => expect((await fetch(`${url}/readyz`)).status).toBe(503), { timeout: 5_000 });
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect(await (await fetch(`${url}/metrics`, bearer(token))).text()).toContain('nexus_process_start_time_seconds');
  waiting.forEach((release) => {
    release();
  });
  expect(await fetching).toMatchObject({ type: 'completed', output: expect.stringContaining('in the end') });
  expect(await ended, log()).toBe(0);
  await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  expect(log()).not.toContain(token);
}, 90_000);

if (!hasPromtool) it.skip('not run: promtool is not there, which comes with Prometheus', () => undefined);

describe('who reads the metrics of an agent core', () => {
  const scrape = async (url: string, token?: string) => (await fetch(`${url}/metrics`, token === undefined ? {} : bearer(token))).status;

  it('has the token of callers, or one that reads and runs nothing [verifies tools.wire.watched]', async () => {
    const plain = await startCore({ token: runToken });
    expect([await scrape(plain.watchUrl), await scrape(plain.watchUrl, readToken), await scrape(plain.watchUrl, runToken)]).toEqual([
      401, 401, 200,
    ]);
    const apart = await startCore({ token: runToken, metrics: { token: readToken } });
    expect([await scrape(apart.watchUrl, runToken), await scrape(apart.watchUrl, readToken)]).toEqual([401, 200]);
    const tools = callTools(apart.port, { token: readToken });
    closers.push(() => tools.close());
    await expect(tools.list('default')).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('has a certificate where callers have one; health is told without [verifies tools.wire.watched]', async () => {
    const pem = (name: string, content: Buffer) => {
      const path = join(folder, name);
      writeFileSync(path, content);
      return path;
    };
    const tls = {
      cert: pem('cert.pem', serverTls.cert),
      key: pem('key.pem', serverTls.key),
      clientCa: pem('ca.pem', serverTls.clientCa ?? Buffer.alloc(0)),
    };
    const { watchUrl } = await startCore({ tls });
    const ask = (path: string, shown: { cert?: Buffer | undefined; key?: Buffer | undefined }) =>
      new Promise<number | undefined>((resolve, reject) => {
        const options = { ca: serverTls.clientCa, servername: clientTls.serverName, agent: false, ...shown };
        request(`${watchUrl}${path}`, options, (response) => {
          response.resume();
          resolve(response.statusCode);
        })
          .once('error', reject)
          .end();
      });
    const known = { cert: clientTls.cert, key: clientTls.key };
    const stranger = { cert: strangerTls.cert, key: strangerTls.key };
    expect(watchUrl).toMatch(/^https:/);
    expect([await ask('/metrics', {}), await ask('/metrics', stranger), await ask('/metrics', known)]).toEqual([401, 401, 200]);
    expect([await ask('/healthz', {}), await ask('/readyz', stranger)]).toEqual([200, 200]);
  });

  it('is asked for a token wherever others reach it, and told of a port that is taken [verifies tools.wire.watched]', async () => {
    const { clientCa, ...own } = serverTls;
    expect(clientCa).toBeDefined();
    expect(own.cert.length).toBeGreaterThan(0);
    const { watchUrl } = await startCore({ metrics: { host: '0.0.0.0' }, token: runToken });
    expect(await scrape(watchUrl.replace('0.0.0.0', '127.0.0.1'))).toBe(401);
    await expect(startCore({ metrics: { host: '0.0.0.0' } })).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('NEXUS_GRPC_METRICS_TOKEN'),
    });
    const taken = Number(new URL(watchUrl).port);
    await expect(startCore({ metrics: { host: '0.0.0.0', port: taken }, token: runToken })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/grpc\.metrics\.port\): another program uses it/),
    });
  });

  it('gets what is there and nothing else, and cannot keep it from ending', async () => {
    const core = await startCore();
    const { port } = new URL(core.watchUrl);
    expect((await fetch(`${core.watchUrl}/v1/runs`)).status).toBe(404);
    const posted = await fetch(`${core.watchUrl}/metrics`, { method: 'POST', body: 'x'.repeat(1_000_000) });
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    expect(await (await fetch(`${core.watchUrl}/healthz`, { method: 'HEAD' })).text()).toBe('');
    const silent = connect(Number(port), '127.0.0.1');
    silent.on('error', () => undefined);
    await new Promise((resolve) => silent.once('connect', resolve));
    silent.write('GET /healthz HTTP/1.1\r\nhost: x\r\n'); // and never ends it
    const startedAt = performance.now();
    await core.close();
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  it('is not a tool: what tools fetch does not reach it [verifies tools.wire.watched]', async () => {
    const core = await startCore({ token: runToken }, [makeTool()], { httpFetch: { allowPrivate: ['127.0.0.1'] } });
    const tools = callTools(core.port, { token: runToken });
    closers.push(() => tools.close());
    const end = await readCall(tools, makeToolCall({ toolName: 'http_fetch', input: { url: `${core.watchUrl}/healthz` } }));
    expect(end).toMatchObject({ type: 'failed', error: { code: 'address_not_allowed' } });
  });
});
