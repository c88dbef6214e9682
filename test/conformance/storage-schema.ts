import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RunId, TenantId } from '@nexus-agent/protocol';
import { describe, expect, it, onTestFinished } from 'vitest';
import { initial, migrations, tables } from '../../packages/server/src/storage/testing/index.ts';
import { holdMigration } from '../support/held-migration.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { execute } from '../support/sql.ts';
import { type DatabaseLocation, newTenant, openTestStore, type StoreSubject, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

/** Migrations of a driver, each test on an empty database. */
export function describeSchema(name: StoreSubject['name']): void {
  describe('schema', () => {
    it('is brought up once by any number of processes that start together, and keeps its data afterwards', async () => {
      const location = await emptyDatabase(name);
      const stores = await Promise.all(Array.from({ length: 4 }, () => openTestStore(location)));
      await Promise.all(stores.map((store) => store.close()));
      expect(await execute(location, 'select version from schema_migrations order by version')).toEqual([
        { version: 1 },
        { version: 2 },
        { version: 3 },
        { version: 4 },
        { version: 5 },
        { version: 6 },
        { version: 7 },
        { version: 8 },
        { version: 9 },
        { version: 10 },
        { version: 11 },
        { version: 12 },
        { version: 13 },
        { version: 14 },
        { version: 15 },
        { version: 16 },
        { version: 17 },
        { version: 18 },
      ]);
      const session = sessionRow(newTenant());
      const first = await openTestStore(location);
      await first.commit({ tenantId: session.tenantId, sessions: [session] });
      await first.close();
      await first.close();
      const second = await openTestStore(location);
      expect(await second.getSession(session.tenantId, session.sessionId)).toEqual(session);
      await second.close();
    });

    it(`of a newer program is refused and left as it is ${verifies('storage.schema.newer')}`, async () => {
      const location = await emptyDatabase(name);
      await (await openTestStore(location)).close();
      await execute(location, "insert into schema_migrations values (999, 'from the future', 1)");
      await expect(openTestStore(location)).rejects.toMatchObject({ code: 'schema_too_new', details: { found: 999 } });
      await execute(location, 'delete from schema_migrations where version = 999');
      await (await openTestStore(location)).close();
    });

    it('that lacks a version before its last one is brought through it', async () => {
      const location = await emptyDatabase(name);
      await (await openTestStore(location)).close();
      await execute(location, 'delete from schema_migrations where version = 5');
      for (const table of ['file_trees', 'files', 'file_versions', 'blobs', 'blob_pieces', 'blob_usage'])
        await execute(location, `drop table ${table}`);
      const store = await openTestStore(location);
      expect(await store.getFileTree(newTenant(), 'ses_1')).toBeNull();
      await store.close();
    });

    it(`is waited for by nobody who was told to end, however long another migrates ${verifies('durability.drain.migrating')}`, async () => {
      const location = await emptyDatabase(name);
      onTestFinished(await holdMigration(location));
      const told = new AbortController();
      const reason = new Error('told to end');
      const opening = openTestStore({ ...location, signal: told.signal, timeoutMs: 15_000 });
      setTimeout(() => told.abort(reason), 200);
      await expect(opening).rejects.toBe(reason);
      await expect(openTestStore({ ...location, signal: told.signal })).rejects.toBe(reason);
    });

    it('has exactly the columns that the queries know', async () => {
      const location = await emptyDatabase(name);
      await (await openTestStore(location)).close();
      for (const { name: table, columns } of tables) {
        expect(await columnsOf(location, table), table).toEqual(Object.keys(columns).sort());
      }
    });

    it('of the first version is brought up with its rows in place', async () => {
      const location = await emptyDatabase(name);
      const words = name === 'sqlite' ? { text: 'text', clustered: ' without rowid' } : { text: 'text collate "C"', clustered: '' };
      const types = { ...words, numberIn: String, dayOf: String }; // the first schema has no use for these
      const marks = 'create table schema_migrations (version integer not null primary key, name text not null, applied_at bigint not null)';
      const held = `'["tenant:t|tokens|total"]'`;
      for (const sql of [
        ...initial.statements(types),
        marks,
        "insert into schema_migrations values (1, 'initial', 1)",
        "insert into budgets values ('t', 'tenant:t', 'tokens', 'total', '', 100, 7, 5)",
        `insert into reservations values ('t', 'a', null, 'open', 1, '{"tokens":5}', ${held}, null, null, 1, null, null, 0)`,
        `insert into reservations values ('t', 'b', null, 'charged', 1, '{"tokens":7}', ${held}, 7, null, 1, '{"tokens":7}', 2, 1)`,
      ]) {
        await execute(location, sql);
      }
      const store = await openTestStore(location);
      const tenantId = TenantId.parse('t');
      const fields = { runId: null, subject: null, rows: ['tenant:t|tokens|total'], grantedWallMs: null, expiresAt: 1 };
      expect(await store.listReservations(tenantId, {})).toEqual([
        { ...fields, reservationId: 'a', state: 'open', amounts: { tokens: 5 }, grantedTokens: null, charged: null, closedAt: null },
        { ...fields, reservationId: 'b', state: 'charged', amounts: { tokens: 7 }, grantedTokens: 7, charged: { tokens: 7 }, closedAt: 2 },
      ]);
      const result = await store.commit({ tenantId, ledger: [{ type: 'charge', reservationId: 'a' }] });
      expect(result).toMatchObject({ type: 'committed', outcomes: [{ outcome: 'charged_maximum', amounts: { tokens: 5 } }] });
      await store.close();
    });

    it(`of a version that summed up days once they were over keeps every amount ${verifies('budget.usage')}`, async () => {
      const location = await emptyDatabase(name);
      const words = name === 'sqlite' ? { text: 'text', clustered: ' without rowid' } : { text: 'text collate "C"', clustered: '' };
      const types = { ...words, numberIn: () => '0', dayOf: () => "''" }; // asked of no row
      const marks = 'create table schema_migrations (version integer not null primary key, name text not null, applied_at bigint not null)';
      const booked = (id: string, day: string, user: string, folded: number) =>
        `insert into ledger_entries (tenant_id, entry_id, kind, reservation_id, budget_rows, at, user_name, agent, day, cost_micro_usd, tokens,
          folded) values ('t', '${id}', 'settled', '${id}', '[]', 1, ${user}, 'x', '${day}', 3, 10, ${folded})`;
      const sum = (day: string, user: string, settlements: number) =>
        `insert into ledger_days values ('t', '${day}', '${user}', '', 'x', '', ${settlements}, ${3 * settlements}, ${10 * settlements}, 0, 0)`;
      for (const sql of [
        ...migrations.filter(({ version }) => version < 13).flatMap((migration) => migration.statements(types)),
        marks,
        ...migrations
          .filter(({ version }) => version < 13)
          .map(({ version }) => `insert into schema_migrations values (${version}, 'x', 1)`),
        sum('2026-11-01', 'ann', 2),
        sum('2026-11-01', '', 1),
        booked('a', '2026-11-01', "'ann'", 1),
        booked('b', '2026-11-02', "'ann'", 0),
        booked('c', '2026-11-02', 'null', 0),
        booked('d', '2026-11-03', "'bob'", 0),
      ])
        await execute(location, sql);
      const store = await openTestStore(location);
      const tenantId = TenantId.parse('t');
      const limit = { type: 'limit', scope: { kind: 'user', id: 'ann' }, unit: 'tokens', window: 'total', limit: 100 } as const;
      await store.commit({ tenantId, ledger: [limit] });
      expect((await store.listBudgets(tenantId, {}, Date.now(), { limit: 5 })).items).toMatchObject([{ spent: 30 }]);
      const usage = async (by: 'day' | 'user' | 'agent', from = '2026-11-01') =>
        (await store.usage(tenantId, { by, from, to: '2026-11-30' }, { limit: 10 })).items.map((row) => [
          row.name,
          row.settlements,
          row.amounts.tokens,
        ]);
      expect(await usage('day')).toEqual([
        ['2026-11-03', 1, 10],
        ['2026-11-02', 2, 20],
        ['2026-11-01', 3, 30],
      ]);
      expect(await usage('user')).toEqual([
        ['ann', 3, 30],
        ['', 2, 20],
        ['bob', 1, 10],
      ]);
      expect(await usage('agent', '2026-11-02')).toEqual([['x', 3, 30]]);
      await store.close();
    });

    it('of a version that kept a journal in the order of its key keeps every event', async () => {
      const location = await emptyDatabase(name);
      const words = name === 'sqlite' ? { text: 'text', clustered: ' without rowid' } : { text: 'text collate "C"', clustered: '' };
      const types = { ...words, numberIn: () => '0', dayOf: () => "''" }; // asked of no row
      const before = migrations.filter(({ version }) => version < 14);
      const [runA, runB] = [RunId.parse('run_01h455vb4pex5vsknk084sn02q'), RunId.parse('run_01h455vb4pex5vsknk084sn02r')];
      const event = (runId: RunId, seq: number) =>
        `insert into run_events values ('t', '${runId}', ${seq}, 'run.started', ${10 * seq}, '{"of":"${runId}"}')`;
      for (const sql of [
        ...before.flatMap((migration) => migration.statements(types)),
        'create table schema_migrations (version integer not null primary key, name text not null, applied_at bigint not null)',
        ...before.map(({ version }) => `insert into schema_migrations values (${version}, 'x', 1)`),
        event(runB, 1),
        event(runA, 1),
        event(runA, 3),
        event(runA, 2),
      ])
        await execute(location, sql);
      const store = await openTestStore(location);
      const tenantId = TenantId.parse('t');
      const events = (runId: RunId, after = 0) => store.readEvents(tenantId, runId, { after, limit: 10 });
      expect(await events(runA, 1)).toEqual([
        { seq: 2, type: 'run.started', at: 20, data: `{"of":"${runA}"}` },
        { seq: 3, type: 'run.started', at: 30, data: `{"of":"${runA}"}` },
      ]);
      expect(await events(runB)).toMatchObject([{ seq: 1, data: `{"of":"${runB}"}` }]);
      await store.close();
      // One that is written again is refused as before.
      await expect(execute(location, event(runA, 3))).rejects.toThrow();
    });
  });
}

async function emptyDatabase(name: StoreSubject['name']): Promise<DatabaseLocation> {
  if (name === 'sqlite') {
    const dataDir = mkdtempSync(join(tmpdir(), 'nexus-schema-'));
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
    return { dataDir };
  }
  const postgres = await acquirePostgres();
  if ('reason' in postgres) throw new Error(postgres.reason);
  onTestFinished(() => postgres.close());
  return { url: postgres.url };
}

async function columnsOf(location: DatabaseLocation, table: string): Promise<string[]> {
  const sql =
    location.url === undefined
      ? `select name from pragma_table_info('${table}')`
      : `select column_name as name from information_schema.columns where table_name = '${table}' and table_schema = 'public'`;
  const rows = await execute(location, sql);
  return rows.map((row) => String(typeof row === 'object' && row !== null && Reflect.get(row, 'name'))).sort();
}
