import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, expect, it, vi } from 'vitest';
import { clientTls, serverTls, strangerTls } from '../../packages/server/src/tools/wire/testing/index.ts';
import { startCoreProcess } from './support/core-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'nexus-buf-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const buf = fileURLToPath(new URL('../../node_modules/@bufbuild/buf/bin/buf', import.meta.url));
const hasBuf = spawnSync(process.execPath, [buf, '--version']).status === 0;
const reason = 'the program buf is not there for this platform';
const service = 'nexus.tools.v1.ToolService';

const pem = (name: string, content: Buffer | undefined) => {
  const path = join(folder, name);
  writeFileSync(path, content ?? '');
  return path;
};
const files = {
  ca: pem('ca.pem', serverTls.clientCa),
  cert: pem('cert.pem', serverTls.cert),
  key: pem('key.pem', serverTls.key),
  strangerCert: pem('stranger.pem', strangerTls.cert),
  strangerKey: pem('stranger-key.pem', strangerTls.key),
};
const token = 'a-token-for-buf-curl';

/** How a client shows who it is, rightly and wrongly, and what is said of the wrong way. */
const ways = [
  {
    name: 'with a token',
    grpc: { token },
    scheme: 'http',
    right: ['--http2-prior-knowledge', '-H', `authorization: Bearer ${token}`, '--reflect-header', `authorization: Bearer ${token}`],
    wrong: ['--http2-prior-knowledge', '-H', 'authorization: Bearer another', '--reflect-header', `authorization: Bearer ${token}`],
    refusal: /unauthenticated/,
  },
  {
    name: 'over mutual TLS',
    grpc: { tls: { cert: files.cert, key: files.key, clientCa: files.ca } },
    scheme: 'https',
    right: ['--cacert', files.ca, '--servername', String(clientTls.serverName), '--cert', files.cert, '--key', files.key],
    wrong: ['--cacert', files.ca, '--servername', String(clientTls.serverName), '--cert', files.strangerCert, '--key', files.strangerKey],
    refusal: /failed to find service/, // not even reflection is answered
  },
] as const;

const call = {
  tenantId: 'default',
  sessionId: 'ses_1',
  runId: 'run_1',
  attempt: 1,
  idempotencyKey: 'k',
  timeoutMs: 60_000,
  inputJson: '{}',
};

if (!hasBuf) it.skip(`not run: ${reason}`);
else
  it.each(ways)(
    'tells a general client all that it needs, $name: it lists, calls and cancels by reflection [verifies tools.wire.reflection]',
    async ({ name, grpc, scheme, right, wrong, refusal }) => {
      const calls = join(folder, `calls ${name}`);
      const heard = () => (existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : []);
      const count = (line: string) => heard().filter((each) => each === line).length;
      const { port } = await startCoreProcess({ dataDir: join(folder, name), grpc: { port: 0, ...grpc } }, calls, closers);
      const curl = (method: string, data: object, shown: readonly string[] = right) =>
        start([
          buf,
          'curl',
          '--protocol',
          'grpc',
          ...shown,
          '-d',
          JSON.stringify(data),
          `${scheme}://127.0.0.1:${port}/${service}/${method}`,
        ]);

      const { tools } = JSON.parse((await curl('ListTools', { tenantId: 'default' }).ended).out);
      expect(tools.map((tool: { name: string }) => tool.name)).toEqual(expect.arrayContaining(['fs_write', 'code_js', 'pay']));
      const done = await curl('Execute', { ...call, callId: 'call_0', attempt: 2, toolName: 'look' }).ended;
      expect(JSON.parse(done.out)).toMatchObject({ completed: { output: 'look done' } });

      // By the method: the call says how it ended, to whoever reads it.
      const held = curl('Execute', { ...call, callId: 'call_1', toolName: 'look' });
      await vi.waitFor(() => expect(count('look 1')).toBe(1), { timeout: 20_000, interval: 50 });
      const of = { tenantId: 'default', callId: 'call_1', attempt: 1 };
      for (const other of [{ tenantId: 'other' }, { callId: 'call_2' }, { attempt: 2 }])
        expect(JSON.parse((await curl('Cancel', { ...of, ...other }).ended).out)).toEqual({});
      expect(count('look stopped')).toBe(0);
      expect(JSON.parse((await curl('Cancel', of).ended).out)).toEqual({ found: true });
      expect(JSON.parse((await held.ended).out)).toMatchObject({ failed: { error: { code: 'cancelled' } } });
      expect(count('look stopped')).toBe(1);

      // By its death, and by Ctrl-C: the tool stops, with effects or without.
      for (const [at, [toolName, signal]] of (
        [
          ['pay', 'SIGKILL'],
          ['look', 'SIGINT'],
        ] as const
      ).entries()) {
        const before = [count(`${toolName} 1`), count(`${toolName} stopped`)] as const;
        const left = curl('Execute', { ...call, callId: `call_${3 + at}`, toolName });
        await vi.waitFor(() => expect(count(`${toolName} 1`)).toBe(before[0] + 1), { timeout: 20_000, interval: 50 });
        left.kill(signal);
        await vi.waitFor(() => expect(count(`${toolName} stopped`)).toBe(before[1] + 1), { timeout: 10_000, interval: 50 });
        expect(JSON.parse((await curl('Cancel', { ...of, callId: `call_${3 + at}` }).ended).out)).toEqual({});
      }

      expect((await curl('ListTools', { tenantId: 'default' }, wrong).ended).err).toMatch(refusal);
      const misnamed = await curl('ListTools', { tenantId: '../etc' }).ended;
      expect(misnamed.err).toMatch(/invalid_argument[\s\S]*nexus\.tools\.v1\.ErrorInfo/);
    },
    180_000,
  );

/** The program itself, not what starts it: a signal must reach who holds the connection. */
function start(args: readonly string[]) {
  const child = spawn(process.execPath, [...args], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const ended = new Promise<{ out: string; err: string }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve({ out, err }));
  });
  const kill = (signal: NodeJS.Signals) => process.kill(-Number(child.pid), signal); // the group is of its own
  return { ended, kill };
}
