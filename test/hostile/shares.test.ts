import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync, mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifies } from '../support/verifies.ts';
import { databases, startVictim, type Victim } from './support/victim.ts';

/** What nobody waits longer than because of another tenant. */
const longestWaitMs = 1_000;

interface Tenant {
  readonly headers: { readonly authorization: string };
  readonly call: Victim['call'];
  session(agent?: string): Promise<string>;
  tool(sessionId: string, name: string, input: unknown): ReturnType<Victim['call']>;
}

async function tenantOf(victim: Victim, name: string): Promise<Tenant> {
  const headers = { authorization: `Bearer ${await victim.key(['runs', 'admin', 'approvals'], name)}` };
  const call: Victim['call'] = (method, path, body, more) => victim.call(method, path, body, { ...headers, ...more });
  const stored = { name: 'free', models: ['sim/sim-large'], tools: ['*'], policy: { allow: ['*', 'net:*'] } };
  const put = await call('POST', '/v1/agents', stored);
  expect(put.status, put.text).toBeLessThan(300);
  return {
    headers,
    call,
    async session(agent = 'free') {
      const made = await call('POST', '/v1/sessions', { agent });
      expect(made.status, made.text).toBe(201);
      return made.body.id;
    },
    tool: (sessionId, tool, input) => call('POST', `/v1/tools/${tool}/execute`, { sessionId, input }),
  };
}

async function timed<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly ms: number }> {
  const startedAt = performance.now();
  const result = await work();
  return { result, ms: performance.now() - startedAt };
}
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The shortest of three: the machine does other things too, and a place that is held is held all the time. */
async function quickest<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly ms: number }> {
  let best = await timed(work);
  for (let tries = 1; tries < 3 && best.ms > longestWaitMs / 2; tries++) {
    const next = await timed(work);
    if (next.ms < best.ms) best = next;
  }
  return best;
}

describe.each(await databases())('what tenants share on %s', (database) => {
  let victim: Victim;
  let greedy: Tenant;
  let modest: Tenant;
  beforeAll(async () => {
    victim = await startVictim({
      database,
      config: {
        quotas: { budgets: 60, queuedRuns: 15_000, contentBytes: 3_000_000 },
        limits: { tenantRequests: 150, tenantStreams: 20 },
        httpFetch: { allowPrivate: ['127.0.0.1'], maxFetches: 8, spareFetches: 4, maxWaiting: 12 },
        sandbox: { maxQueued: 40, wallMs: 2_000 },
        policy: { tenants: { allow: ['*', 'net:*', 'model:*'] } },
        runs: { maxLiveRuns: 20 },
        workspace: { maxBytes: 1_000_000 },
      },
    });
    greedy = await tenantOf(victim, 'greedy');
    modest = await tenantOf(victim, 'modest');
  });
  afterAll(() => victim.close());

  it(`programs: one tenant's do not delay another's ${verifies('hostile.shares.sandbox')}`, { timeout: 120_000 }, async () => {
    const sessions = await Promise.all(Array.from({ length: 6 }, () => greedy.session()));
    const mine = await modest.session();
    await modest.tool(mine, 'code_js', { code: '0' });
    const busy = Array.from({ length: 66 }, (_, index) => greedy.tool(sessions[index % 6] ?? '', 'code_js', { code: 'for (;;);' }));
    await pause(300);
    const { result, ms } = await quickest(() => modest.tool(mine, 'code_js', { code: '1 + 1' }));
    expect(result.text).toContain('2');
    expect(ms).toBeLessThan(longestWaitMs);
    const ends = (await Promise.all(busy)).map(({ text }) => text);
    const refusals = ends.filter((text) => text.includes('rate_limited'));
    expect(refusals.length).toBeGreaterThan(10);
    expect(refusals[0]).toMatch(/programs wait .* of this tenant.*sandbox\.maxQueued/);
    expect(victim.exited()).toBeNull();
  });

  it(`fetches: names that nobody answers for, and slow servers, keep no other tenant waiting ${verifies('hostile.shares.sockets')}`, {
    timeout: 120_000,
  }, async () => {
    const slow = createServer((request, response) => {
      if (request.url === '/quick') response.end('quick');
    });
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = slow.address() as AddressInfo;
      const sessions = await Promise.all(Array.from({ length: 4 }, () => greedy.session()));
      const mine = await modest.session();
      const busy = Array.from({ length: 30 }, (_, index) =>
        greedy.tool(sessions[index % 4] ?? '', 'http_fetch', { url: `http://127.0.0.1:${port}/never` }),
      );
      await pause(300);
      const { result, ms } = await quickest(() => modest.tool(mine, 'http_fetch', { url: `http://127.0.0.1:${port}/quick` }));
      expect(result.text).toContain('quick');
      expect(ms).toBeLessThan(longestWaitMs);
      expect((await Promise.race(busy)).text).toMatch(/rate_limited.*fetches wait .* of this tenant/);
      slow.closeAllConnections();
      await Promise.all(busy);
    } finally {
      slow.closeAllConnections();
      slow.close();
    }
  });

  it(`the queue: ten thousand runs of one tenant do not delay a run of another ${verifies('hostile.shares.queue')}`, {
    timeout: 240_000,
  }, async () => {
    const session = await greedy.session();
    const hello = async () => {
      const made = await modest.call('POST', '/v1/runs', { input: 'hello', agent: 'free' });
      return victim.end(made.body.id, modest.headers);
    };
    const alone = await quickest(hello);
    let sent = 0;
    const until = performance.now() + 12_000;
    // Runs behind a busy session, and runs that are due: both are in the queue.
    const send = async () => {
      while (sent < 10_000 && performance.now() < until) {
        sent += 1;
        const body = { input: 'x', agent: 'free', ...(sent % 2 === 0 ? { sessionId: session } : {}) };
        await greedy.call('POST', '/v1/runs', body);
      }
    };
    await Promise.all(Array.from({ length: 16 }, send));
    const { result, ms } = await quickest(hello);
    expect(result.status).toBe('completed');
    // Its own work takes longer beside that of twenty runs; it does not wait for thousands of them.
    expect(ms).toBeLessThan(longestWaitMs + 6 * alone.ms);
  });

  it(`requests and streams: one tenant leaves room, and is told when it has its share ${verifies('hostile.shares.requests')}`, async () => {
    const made = await greedy.call('POST', '/v1/runs', { input: 'wait', agent: 'free', sessionId: await greedy.session() });
    const ending = new AbortController();
    const readers = await Promise.all(
      Array.from({ length: 30 }, () =>
        fetch(`${victim.url}/v1/runs/${made.body.id}/events`, { headers: greedy.headers, signal: ending.signal }),
      ),
    );
    const statuses = readers.map(({ status }) => status);
    // Those that were at their end by then made room.
    expect(statuses.every((status) => status === 200 || status === 429)).toBe(true);
    const { result, ms } = await quickest(() => modest.call('GET', '/v1/sessions'));
    expect(result.status).toBe(200);
    expect(ms).toBeLessThan(longestWaitMs);
    ending.abort();
  });

  it(`the disk: one tenant is bounded over all of its sessions and versions ${verifies('hostile.shares.disk')}`, {
    timeout: 60_000,
  }, async () => {
    const texts: string[] = [];
    for (let index = 0; index < 6; index++) {
      const session = await greedy.session();
      for (let version = 0; version < 3; version++) {
        const written = await greedy.tool(session, 'fs_write', { path: 'same.txt', content: `${index} ${version} `.padEnd(300_000, 'x') });
        texts.push(written.text);
      }
    }
    expect(texts.filter((text) => text.includes('quota_exceeded')).length).toBe(texts.length - 10);
    expect(texts.at(-1)).toMatch(/3000000 bytes of kept contents of files \(quotas\.contentBytes\)/);
    const written = await modest.tool(await modest.session(), 'fs_write', { path: 'a.txt', content: 'mine' });
    expect(written.text).not.toContain('error');
  });

  it(`counts are exact when sixty ask at once ${verifies('hostile.shares.quotas')}`, async () => {
    const third = await tenantOf(victim, 'third');
    const put = (id: string) => third.call('PUT', '/v1/budgets', { scope: { kind: 'user', id }, unit: 'tokens', limit: 5 });
    const made = await Promise.all(Array.from({ length: 100 }, (_, index) => put(`user-${index}`)));
    expect(made.filter(({ status }) => status < 300)).toHaveLength(60);
    const refused = made.find(({ status }) => status >= 300);
    expect(refused).toMatchObject({ status: 409, body: { code: 'quota_exceeded', details: { what: 'budgets', limit: 60, used: 60 } } });
    expect(refused?.headers.get('content-type')).toContain('problem+json');
  });

  it('still stands, and has stalled nobody', async () => {
    expect(victim.exited()).toBeNull();
    await victim.unmoved(async () => expect((await modest.call('GET', '/v1/sessions')).status).toBe(200));
  });
});

describe('a name server that says nothing', () => {
  it(`delays no other tenant's fetch ${verifies('hostile.shares.resolver')}`, { timeout: 60_000 }, async () => {
    // Names of a domain whose server exists and is silent: the resolver of this machine asks it in vain.
    const silent = createSocket('udp4');
    await new Promise<void>((resolve) => silent.bind(0, '127.0.0.1', resolve));
    const quick = createServer((_request, response) => response.end('quick'));
    await new Promise<void>((resolve) => quick.listen(0, '127.0.0.1', resolve));
    const victim = await startVictim({
      config: { httpFetch: { allowPrivate: ['127.0.0.1', 'localhost'] }, policy: { tenants: { allow: ['*', 'net:*', 'model:*'] } } },
      files: {
        // Whatever the machine's resolver would do: all names from outside go to the silent server.
        'silent.mjs': `import dns from 'node:dns'; dns.setServers(['127.0.0.1:${silent.address().port}']);
          const { Resolver } = dns.promises; const set = Resolver.prototype.setServers;
          Resolver.prototype.resolve4 = ((own) => function (name) { set.call(this, ['127.0.0.1:${silent.address().port}']); return own.call(this, name); })(Resolver.prototype.resolve4);`,
      },
      env: { NODE_OPTIONS: '--import=./silent.mjs' },
    });
    try {
      const greedy = await tenantOf(victim, 'greedy');
      const modest = await tenantOf(victim, 'modest');
      const session = await greedy.session();
      const mine = await modest.session();
      const busy = Array.from({ length: 24 }, (_, index) => greedy.tool(session, 'http_fetch', { url: `http://silent-${index}.example/` }));
      await pause(300);
      const { port } = quick.address() as AddressInfo;
      const { result, ms } = await quickest(() => modest.tool(mine, 'http_fetch', { url: `http://localhost:${port}/` }));
      expect(result.text).toContain('quick');
      expect(ms).toBeLessThan(longestWaitMs);
      // Files need the same few threads of the process.
      const file = await quickest(() => modest.tool(mine, 'fs_write', { path: 'a.txt', content: 'x' }));
      expect(file.ms).toBeLessThan(longestWaitMs);
      await Promise.all(busy);
      expect(victim.exited()).toBeNull();
    } finally {
      await victim.close();
      quick.close();
      silent.close();
    }
  });
});

const system = { mount: 'mount', unmount: 'umount' };

/** A disk of its own, small; the reason when there can be none. */
function smallDisk(folder: string): { readonly unmount: () => void } | { readonly reason: string } {
  if (process.getuid?.() !== 0) return { reason: 'only root may mount a small disk' };
  try {
    mkdirSync(folder, { recursive: true });
    execFileSync(system.mount, ['-t', 'tmpfs', '-o', 'size=48m,nr_inodes=2000', 'tmpfs', folder], { stdio: 'pipe' });
    return { unmount: () => execFileSync(system.unmount, ['-l', folder], { stdio: 'pipe' }) };
  } catch (error) {
    return { reason: `no small disk can be mounted: ${String(error).split('\n')[0]}` };
  }
}

describe.each([
  { store: 'folder', size: 1_000_000, left: 11_000_000 },
  // What is in the log of the embedded database will be in the database as well: four million bytes of it, and no more.
  { store: 'database', size: 2_000_000, left: 8_000_000 },
])('a disk that fills up, contents kept in the $store', ({ store, size, left }) => {
  it(`leaves the database its room, and takes files again once there is space ${verifies('hostile.shares.disk')}`, {
    timeout: 120_000,
  }, async (context) => {
    const folder = join('/tmp', `nexus-small-disk-${process.pid}-${store}`);
    const disk = smallDisk(folder);
    if ('reason' in disk) return context.skip(`not run: ${disk.reason}`);
    let victim: Victim | undefined;
    try {
      victim = await startVictim({ config: { dataDir: folder, tools: { files: { store, keepFreeBytes: 12_000_000 } } } });
      const tenant = await tenantOf(victim, 'filler');
      const sessions = await Promise.all(Array.from({ length: 8 }, () => tenant.session()));
      // At once: each looks at the disk before the others have written.
      const fill = async (session: string) => {
        for (let index = 0; index < 20; index++) {
          const content = `${session} ${index} `.padEnd(size, 'x');
          const { text } = await tenant.tool(session, 'fs_write', { path: `f${index}`, content });
          if (text.includes('quota_exceeded')) return text;
        }
        return 'all was written';
      };
      const last = await Promise.all(sessions.map(fill));
      for (const text of last) {
        expect(text).toMatch(/12000000 bytes of it are kept free \(tools\.files\.keepFreeBytes\)/);
        expect(text).not.toContain(folder);
      }
      // The operator is told, and not for each call.
      expect(
        victim.output().match(/tools have no room in the data folder of this process|the content of a file could not be kept/g),
      ).not.toBeNull();
      expect(victim.output().match(/tools have no room in the data folder of this process/g)?.length ?? 0).toBeLessThanOrEqual(1);
      const { bavail, bsize } = statfsSync(folder);
      expect(bavail * bsize).toBeGreaterThan(left);
      // Everybody goes on: the database has its room.
      const other = await tenantOf(victim, 'other');
      const run = await other.call('POST', '/v1/runs', { input: 'hello', agent: 'free' });
      expect((await victim.end(run.body.id, other.headers)).status).toBe('completed');
      // Somebody else fills the disk to the last byte; then it is emptied.
      try {
        writeFileSync(join(folder, 'ballast'), Buffer.alloc(bavail * bsize));
      } catch {
        // It is full now.
      }
      const statuses = await Promise.all(Array.from({ length: 20 }, () => other.call('POST', '/v1/sessions', { agent: 'free' })));
      expect(statuses.every(({ status }) => status === 201 || status === 503)).toBe(true);
      expect(victim.exited()).toBeNull();
      rmSync(join(folder, 'ballast'), { force: true });
      const purged = await tenant.call('DELETE', `/v1/sessions/${sessions[0]}`);
      expect(purged.status).toBeLessThan(500);
      const again = await other.call('POST', '/v1/sessions', { agent: 'free' });
      expect(again.status, again.text).toBe(201);
      // A million empty files are no way either: names of files run out before bytes do.
      expect((await other.tool(again.body.id, 'fs_write', { path: 'small', content: 'x' })).status).toBe(200);
      expect(existsSync(join(folder, 'nexus.db'))).toBe(true);
    } finally {
      await victim?.close();
      disk.unmount();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('a disk that holds the embedded database and contents in it', () => {
  it(`has room for what a content takes there, as text and in the log before it ${verifies('hostile.shares.disk')}`, {
    timeout: 60_000,
  }, async (context) => {
    const folder = join('/tmp', `nexus-small-disk-${process.pid}-log`);
    const disk = smallDisk(folder);
    if ('reason' in disk) return context.skip(`not run: ${disk.reason}`);
    let victim: Victim | undefined;
    try {
      victim = await startVictim({ config: { dataDir: folder, tools: { files: { store: 'database', keepFreeBytes: 12_000_000 } } } });
      const tenant = await tenantOf(victim, 'filler');
      const session = await tenant.session();
      const write = async (content: string) => (await tenant.tool(session, 'fs_write', { path: 'a.txt', content })).text;
      const { bavail, bsize } = statfsSync(folder);
      writeFileSync(join(folder, 'ballast'), Buffer.alloc(bavail * bsize - 17_000_000));
      expect(await write('x'.repeat(2_000_000))).toContain('no room for 6000000 more bytes');
      expect(await write('x'.repeat(500_000))).not.toContain('error');
    } finally {
      await victim?.close();
      disk.unmount();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe.each(await databases())('a deleted session on %s', (database) => {
  it(`leaves no rows, contents or folders of its files ${verifies('hostile.shares.deleted')}`, { timeout: 60_000 }, async () => {
    const victim = await startVictim({
      database,
      config: { retention: { intervalMs: 200, contentsDays: 1 }, tools: { files: { idleMs: 1_000 } } },
    });
    try {
      const tenant = await tenantOf(victim, 'gone');
      const session = await tenant.session();
      await tenant.tool(session, 'fs_write', { path: 'deep/er/file.txt', content: 'secret words' });
      await tenant.tool(session, 'fs_read', { path: 'deep/er/file.txt' });
      expect((await tenant.call('GET', `/v1/sessions/${session}/files`)).text).toContain('file.txt');
      const gone = await tenant.call('DELETE', `/v1/sessions/${session}`);
      expect(gone.status, gone.text).toBeLessThan(300);
      expect((await tenant.call('GET', `/v1/sessions/${session}/files`)).status).toBe(404);
      const folders = join(victim.dataDir, 'folders');
      for (const endAt = performance.now() + 20_000; performance.now() < endAt; await pause(250))
        if (filesBelow(folders).length === 0) break;
      expect(filesBelow(folders)).toEqual([]);
      // A session that is gone is not brought back by a tool that still names it.
      const late = await tenant.tool(session, 'fs_write', { path: 'a.txt', content: 'x' });
      expect(late.status).toBe(404);
    } finally {
      await victim.close();
    }
  });
});

function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.txt'));
}
