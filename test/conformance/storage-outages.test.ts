import { createServer } from 'node:net';
import type { TenantId } from '@nexus-agent/protocol';
import pg from 'pg';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { createIdSource, systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { ledgerRules } from '../../packages/server/src/ledger/index.ts';
import { openStore } from '../../packages/server/src/storage/drivers/index.ts';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { openPostgresWay, type PostgresWay } from '../support/postgres-way.ts';
import { newTenant, sessionRow } from '../support/stores.ts';

const timeoutMs = 600;
/** A commit may wait for another's time and a part of its own. */
const patienceMs = timeoutMs * 1.5 + 500;

const postgres = await acquirePostgres();
const { url } = 'reason' in postgres ? { url: '' } : postgres;
const onPostgres = describe.skipIf('reason' in postgres);
afterAll(async () => {
  if ('close' in postgres) await postgres.close();
});
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function open(url: string, limits: { readonly maxConnections?: number; readonly migrationTimeoutMs?: number } = {}): Promise<Store> {
  const ids = createIdSource(systemClock);
  return openStore({ url, ledgerRules, clock: systemClock, timers: systemTimers, ids, timeoutMs, maxConnections: 3, ...limits });
}

async function openOverWay(limits = {}): Promise<{ store: Store; way: PostgresWay }> {
  const way = await openPostgresWay(url);
  closers.push(() => way.close());
  const store = await open(way.url, limits);
  closers.push(() => store.close());
  return { store, way };
}

async function administer<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** How long it took to fail as an outage. */
async function outageMs(work: Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await expect(work).rejects.toMatchObject({ code: 'storage_unavailable', retryable: true });
  return performance.now() - startedMs;
}

const write = (store: Store, tenantId: TenantId = newTenant()) => store.commit({ tenantId, sessions: [sessionRow(tenantId)] });

onPostgres('a database that falls silent', () => {
  const asks: readonly (readonly [string, (store: Store) => Promise<unknown>])[] = [
    ['a statement', (store) => store.listSessions(newTenant(), { limit: 1 })],
    ['a commit', (store) => write(store)],
    ['a sign of life', (store) => store.heartbeat('worker_1', 1_000)],
    ['a claim', (store) => store.claimRuns('worker_1', 1)],
  ];
  it.each(asks)('fails %s in time, and the store comes back by itself', async (_, ask) => {
    const { store, way } = await openOverWay();
    await write(store);
    way.silence();
    expect(await outageMs(ask(store))).toBeLessThan(patienceMs);
    way.speak();
    expect(await write(store)).toMatchObject({ type: 'committed' });
    await ask(store);
  });

  it('fails all that wait at the same time in time, more than there are connections and in one lane', async () => {
    const { store, way } = await openOverWay();
    const tenantId = newTenant();
    await write(store, tenantId);
    way.silence();
    const waits = Array.from({ length: 40 }, (_, index) =>
      index % 2 === 0 ? write(store, tenantId) : store.listSessions(tenantId, { limit: 1 }),
    );
    const times = await Promise.all(waits.map(outageMs));
    expect(Math.max(...times)).toBeLessThan(patienceMs);
    way.speak();
    const after = Array.from({ length: 40 }, () => write(store, tenantId));
    for (const result of await Promise.all(after)) expect(result.type).toBe('committed');
    expect(way.open).toBeLessThanOrEqual(3);
  });

  it('a commit that queues behind one that is not answered does not wait for two', async () => {
    const { store, way } = await openOverWay({ maxConnections: 1 });
    const tenantId = newTenant();
    await write(store, tenantId);
    way.silence();
    const first = outageMs(write(store, tenantId));
    await systemTimers.sleep(timeoutMs * 0.9);
    const second = outageMs(write(store, tenantId));
    expect(await first).toBeLessThan(patienceMs);
    expect(await second).toBeLessThan(patienceMs);
    way.speak();
    expect(await write(store, tenantId)).toMatchObject({ type: 'committed' });
  });

  it('is not asked again by connections of the same age once one has shown it', async () => {
    const { store, way } = await openOverWay();
    await Promise.all(Array.from({ length: 3 }, () => write(store)));
    expect(way.open).toBe(3);
    way.silence();
    await outageMs(write(store));
    way.speak();
    const startedMs = performance.now();
    await Promise.all(Array.from({ length: 6 }, () => write(store)));
    expect(performance.now() - startedMs).toBeLessThan(timeoutMs);
  });

  it('does not hold up the end of the process: with idle connections, and in the middle of a transaction', async () => {
    for (const busy of [false, true]) {
      const { store, way } = await openOverWay();
      await write(store);
      way.silence();
      const lost = busy ? outageMs(write(store)) : undefined;
      const startedMs = performance.now();
      await store.close();
      expect(performance.now() - startedMs).toBeLessThan(patienceMs + 1_100);
      await lost;
      way.close();
      await outageMs(write(store));
    }
  });

  it('does not hold up a start: before it lets anybody in, and in the middle of bringing the schema up to date', async () => {
    const way = await openPostgresWay(url);
    closers.push(() => way.close());
    way.silence();
    expect(await outageMs(open(way.url))).toBeLessThan(patienceMs);
    await expect(open(way.url)).rejects.toThrow(new RegExp(`${new URL(way.url).port}.*within ${timeoutMs} ms`));
    way.speak();
    way.onCommit(() => 'swallowed');
    expect(await outageMs(open(way.url))).toBeLessThan(patienceMs + 1_100);
    way.onCommit(() => 'passes');
    await (await open(way.url)).close();
  });
});

onPostgres('a COMMIT whose answer is lost', () => {
  it.each(['swallowed', 'cut'] as const)('(%s) is not repeated, and says that it may have happened', async (fate) => {
    const { store, way } = await openOverWay();
    const tenantId = newTenant();
    await write(store, tenantId); // what counts the tenant's sessions is there then
    way.onCommit(() => fate);
    const before = way.commits;
    await expect(write(store, tenantId)).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringContaining('it may have happened'),
    });
    expect(way.commits).toBe(before + 1);
    way.onCommit(() => 'passes');
    expect((await store.listSessions(tenantId, { limit: 10 })).items).toHaveLength(2);
  });
});

onPostgres('what a database says for a while', () => {
  it('locks that another holds end a change as an outage, and nothing is left of it', async () => {
    const { store } = await openOverWay();
    const session = sessionRow(newTenant());
    await store.commit({ tenantId: session.tenantId, sessions: [session] });
    await administer(async (client) => {
      await client.query('begin; lock table sessions in access exclusive mode');
      expect(await outageMs(store.closeSession(session.tenantId, session.sessionId))).toBeLessThan(patienceMs);
      await client.query('rollback');
    });
    expect(await store.closeSession(session.tenantId, session.sessionId)).toBe(true);
  });

  it('a statement that the database cancels (57014) is an outage on a connection that stays', async () => {
    const { store, way } = await openOverWay({ maxConnections: 1 });
    const session = sessionRow(newTenant());
    await store.commit({ tenantId: session.tenantId, sessions: [session] });
    const before = way.open;
    await administer(async (client) => {
      await client.query('begin; lock table sessions in access exclusive mode');
      const waiting = outageMs(store.getSession(session.tenantId, session.sessionId));
      const cancel = async () =>
        administer((other) =>
          other.query(
            "select pg_cancel_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
          ),
        );
      // It is repeated as often as connections may be lost.
      for (let times = 0; times < 3; times++) {
        await systemTimers.sleep(60);
        await cancel();
      }
      expect(await waiting).toBeLessThan(patienceMs);
      await client.query('rollback');
    });
    expect(await store.getSession(session.tenantId, session.sessionId)).toEqual(session);
    expect(way.open).toBe(before);
  });

  it('a database that has become read-only (25006) is an outage, and connections to it are not kept', async () => {
    const { store, way } = await openOverWay({ maxConnections: 6 });
    const name = new URL(url).pathname.slice(1);
    await write(store);
    const readOnly = (value: string) =>
      administer(async (client) => {
        await client.query('set default_transaction_read_only = off');
        await client.query(`alter database ${name} set default_transaction_read_only = ${value}`);
      });
    await readOnly('on');
    way.cut();
    await systemTimers.sleep(50); // until it is known
    const ask = () => store.listSessions(newTenant(), { limit: 1 });
    try {
      await Promise.all(Array.from({ length: 6 }, ask));
      expect(way.open).toBe(6);
      await expect(write(store)).rejects.toMatchObject({ code: 'storage_unavailable', message: expect.stringContaining('read-only') });
    } finally {
      await readOnly('off');
    }
    // Nobody cuts its connections: those that were opened to the standby must not be asked again.
    await systemTimers.sleep(50);
    expect(way.open).toBeLessThan(3);
    const results = await Promise.all([write(store), write(store), write(store)]);
    expect(results.map(({ type }) => type)).toEqual(['committed', 'committed', 'committed']);
  });

  it('a session that an operator ends (57P01) costs nobody a change', async () => {
    const { store } = await openOverWay();
    await write(store);
    for (let times = 0; times < 3; times++) {
      await administer((client) =>
        client.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'nexus-agent' and datname = current_database()",
        ),
      );
      expect(await write(store)).toMatchObject({ type: 'committed' });
    }
  });

  it('tables that a newer version has changed beside it (0A000) cost an older one nothing', async () => {
    const store = await open(url);
    closers.push(() => store.close());
    const session = sessionRow(newTenant());
    const { tenantId, sessionId } = session;
    const use = async () => {
      expect(await write(store, tenantId)).toMatchObject({ type: 'committed' });
      expect(await store.getSession(tenantId, sessionId)).toMatchObject({ sessionId });
      expect((await store.listRuns(tenantId, {}, { limit: 5 })).items).toEqual([]);
      expect((await store.heartbeat('wrk_old', 1_000)).cancelRequested).toEqual([]);
      expect(await store.claimRuns('wrk_old', 1)).toEqual([]);
    };
    const tables = ['sessions', 'runs', 'run_events', 'workers', 'agents', 'agent_versions', 'api_keys', 'budgets', 'reservations'];
    const change = (how: string) => administer((client) => client.query(tables.map((name) => `alter table ${name} ${how}`).join(';')));
    await store.commit({ tenantId, sessions: [session] });
    await use();
    await change('add column later text');
    try {
      await use();
    } finally {
      await change('drop column later');
    }
    await use();
  });

  it('too many connections (53300) are an outage', async () => {
    const name = new URL(url).pathname.slice(1);
    const store = await open(url, { maxConnections: 1 });
    closers.push(() => store.close());
    await administer(async (client) => {
      await client.query(`create role crowded login; grant all on database ${name} to crowded; grant all on schema public to crowded`);
      await client.query('grant all on all tables in schema public to crowded; alter role crowded connection limit 0');
    });
    const crowded = new URL(url);
    crowded.username = 'crowded';
    try {
      await expect(open(crowded.href)).rejects.toMatchObject({
        code: 'storage_unavailable',
        message: expect.stringContaining('takes no more connections'),
      });
    } finally {
      await administer((client) => client.query('drop owned by crowded; drop role crowded'));
    }
  });
});

onPostgres('a start that cannot succeed says what would be right', () => {
  const change = (parts: { readonly database?: string; readonly user?: string }) => {
    const changed = new URL(url);
    if (parts.database !== undefined) changed.pathname = `/${parts.database}`;
    if (parts.user !== undefined) changed.username = parts.user;
    return changed.href;
  };

  it('where the database, the role or the rights are missing', async () => {
    await expect(open(change({ database: 'not_there' }))).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(/no database not_there.*create database "not_there"/),
    });
    await expect(open(change({ user: 'nobody_here' }))).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(/nobody_here.*user that exists/),
    });
    await administer((client) => client.query('create role powerless login; revoke create on schema public from public'));
    try {
      await expect(open(change({ user: 'powerless' }))).rejects.toMatchObject({
        code: 'config_invalid',
        message: expect.stringMatching(/powerless may not.*grant usage, create on schema public to "powerless"/),
      });
    } finally {
      await administer((client) => client.query('drop role powerless'));
    }
  });

  it.each([
    ['08P01', 'unsupported startup parameter: options', 'config_invalid', /pooler.*pool_mode = session/],
    ['28P01', 'password authentication failed for user "ada"', 'config_invalid', /refuses the password of ada/],
    ['28000', 'no pg_hba.conf entry', 'config_invalid', /pg_hba\.conf admits/],
    ['57P03', 'the database system is starting up', 'storage_unavailable', /starting up/],
    ['53100', 'No space left on device', 'storage_unavailable', /no disk space/],
    ['XX000', 'something else', 'storage_unavailable', /something else \(XX000\)/],
  ])('where the server refuses with %s', async (state, said, code, message) => {
    const server = await refusingServer(state, said);
    const opening = open(`postgres://ada:very-secret@127.0.0.1:${server.port}/nexus`);
    const error: unknown = await opening.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(String(error)).not.toContain('very-secret');
    server.close();
  });

  it('where nobody listens', async () => {
    const server = await refusingServer('08P01', '');
    server.close();
    await expect(open(`postgres://ada@127.0.0.1:${server.port}/nexus`)).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringMatching(/no database answers at 127\.0\.0\.1:\d+\/nexus \(ECONNREFUSED\)/),
    });
  });
});

/** A server that answers whatever a client begins with by an error. */
async function refusingServer(state: string, message: string) {
  const body = `SFATAL\0VFATAL\0C${state}\0M${message}\0\0`;
  const length = Buffer.alloc(4);
  length.writeInt32BE(Buffer.byteLength(body) + 4);
  const answer = Buffer.concat([Buffer.from('E'), length, Buffer.from(body)]);
  const server = createServer((socket) => socket.on('error', () => {}).once('data', () => socket.end(answer)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return { port: typeof address === 'object' && address !== null ? address.port : 0, close: () => server.close() };
}

onPostgres('a database URL with options of its own', () => {
  it('keeps them, and the connection is used as a direct one', async () => {
    const own = new URL(url);
    own.searchParams.set('options', '-c search_path=apart');
    await administer((client) => client.query('create schema apart'));
    const notices: string[] = [];
    const ids = createIdSource(systemClock);
    const store = await openStore({
      url: own.href,
      ledgerRules,
      clock: systemClock,
      timers: systemTimers,
      ids,
      onNotice: (message) => notices.push(message),
    });
    await store.close();
    const { rows } = await administer((client) =>
      client.query("select 1 from pg_tables where schemaname = 'apart' and tablename = 'runs'"),
    );
    expect(rows).toHaveLength(1);
    expect(notices).toEqual([]);
  });
});
