/**
 * The built packages work as a user would get them: laid out as npm would install them, without any source beside them, the server
 * answers its version, starts, becomes ready and stops cleanly. Run `npm run build` first.
 *
 *   node scripts/checks/built-server.ts
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = join(import.meta.dirname, '../..');
const readyWithinMs = 15_000;
const stopWithinMs = 10_000;

const folder = mkdtempSync(join(tmpdir(), 'nexus-built-'));
let server: ChildProcess | undefined;
try {
  const launcher = install(folder);
  const version = execFileSync(process.execPath, [launcher, '--version'], { encoding: 'utf8', cwd: folder }).trim();
  const port = await freePort();
  const started = performance.now();
  server = spawn(process.execPath, [launcher, 'serve'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, NEXUS_PORT: String(port), NEXUS_HOST: '127.0.0.1', NEXUS_DATA_DIR: join(folder, 'data') },
  });
  const ended = once(server, 'exit');
  await ready(`http://127.0.0.1:${port}/readyz`, ended);
  const readyMs = Math.round(performance.now() - started);
  server.kill('SIGTERM');
  const stopped = await Promise.race([ended, sleep(stopWithinMs).then(() => undefined)]);
  if (stopped === undefined) throw new Error(`it did not stop within ${stopWithinMs} ms of SIGTERM`);
  if (stopped[0] !== 0) throw new Error(`it stopped with exit code ${String(stopped[0])}, signal ${String(stopped[1])}`);
  process.stdout.write(`built-server: ${version}, ready after ${readyMs} ms, stopped cleanly\n`);
} catch (error) {
  process.stdout.write(`built-server: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  server?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}

/** Lays `node_modules` out: our packages by their `files` field, everything else linked to what the repository has installed. */
function install(target: string): string {
  const modules = join(target, 'node_modules');
  mkdirSync(join(modules, '@nexus-agent'), { recursive: true });
  const own: Record<string, string> = { protocol: '@nexus-agent/protocol', sdk: '@nexus-agent/sdk', server: 'nexus-agent' };
  for (const entry of readdirSync(join(root, 'node_modules'))) {
    if (!entry.startsWith('.') && entry !== '@nexus-agent' && entry !== 'nexus-agent') {
      symlinkSync(join(root, 'node_modules', entry), join(modules, entry));
    }
  }
  for (const [name, published] of Object.entries(own)) {
    const from = join(root, 'packages', name);
    // Safe: the repository's own manifest, whose `files` the build relies on.
    const manifest = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8')) as { files: string[] };
    for (const file of ['package.json', ...manifest.files]) {
      if (!existsSync(join(from, file))) throw new Error(`packages/${name}/${file} is to be published and is not there: run npm run build`);
      cpSync(join(from, file), join(modules, published, file), { recursive: true });
    }
    const nested = join(from, 'node_modules');
    if (existsSync(nested)) symlinkSync(nested, join(modules, published, 'node_modules'));
  }
  return join(modules, 'nexus-agent/bin/nexus.mjs');
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

async function ready(url: string, ended: Promise<unknown>): Promise<void> {
  let gone = false;
  void ended.then(() => {
    gone = true;
  });
  for (const end = performance.now() + readyWithinMs; performance.now() < end; await sleep(25)) {
    if (gone) throw new Error('it ended instead of becoming ready');
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok === true) return;
  }
  throw new Error(`it was not ready within ${readyWithinMs} ms`);
}
