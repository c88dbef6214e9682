import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Pooler {
  readonly url: string;
  close(): Promise<void>;
}

const example = new URL('../cases/22-pgbouncer.ini', import.meta.url);

/** PgBouncer in front of a database, by the settings of the example and these; or why there is none, which is printed too. */
export async function startPgbouncer(
  databaseUrl: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<Pooler | { reason: string }> {
  if (spawnSync('pgbouncer', ['--version']).error !== undefined) {
    const reason = 'pgbouncer is not installed';
    process.stderr.write(`tests behind a pooler do not run: ${reason}\n`);
    return { reason };
  }
  const { hostname, port: databasePort, pathname, username } = new URL(databaseUrl);
  const directory = mkdtempSync(join(tmpdir(), 'nexus-pgbouncer-'));
  chmodSync(directory, 0o755); // it gives up being root
  const port = await freePort();
  const configuration = readFileSync(example, 'utf8')
    .replace(/^nexus = .*$/m, `nexus = host=${hostname} port=${databasePort} dbname=${pathname.slice(1)} user=${username}`)
    .replace(/^listen_port = .*$/m, `listen_port = ${port}`)
    .replace('users.txt', join(directory, 'users.txt'));
  const more = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  writeFileSync(join(directory, 'users.txt'), `"${username}" ""\n`);
  writeFileSync(join(directory, 'pgbouncer.ini'), [configuration.trimEnd(), 'unix_socket_dir =', ...more, ''].join('\n'));
  const identity = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn('pgbouncer', [...identity, join(directory, 'pgbouncer.ini')], { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  await untilListening(child, port, () => log);
  return {
    url: `postgres://${username}@127.0.0.1:${port}/nexus`,
    async close() {
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('close', resolve));
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function untilListening(child: ChildProcess, port: number, log: () => string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (child.exitCode !== null) break;
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      socket.on('close', () => resolve(false)).once('connect', () => socket.destroy());
    });
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  child.kill('SIGKILL');
  throw new Error(`pgbouncer did not start: ${log()}`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port'))));
    });
  });
}
