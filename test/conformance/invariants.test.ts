import type { RunId, TenantId } from '@nexus-agent/protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type BrokenInvariant, createIdSource, systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { type LedgerOperation, type LedgerRules, ledgerRules } from '../../packages/server/src/ledger/index.ts';
import { openStore } from '../../packages/server/src/storage/drivers/index.ts';
import type { Commit, CommitResult, RunRow, SessionRow, Store } from '../../packages/server/src/storage/index.ts';
import { execute } from '../support/sql.ts';
import { ids, newTenant, postgresSubject, runRow, type StoreSubject, sessionRow, sqliteSubject } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';
import { worker } from './storage-run-work.ts';

/** Rows that somebody changed by hand, or rules with a fault in them: what is built on them is refused whole. */
function describeInvariants(subject: StoreSubject): void {
  const broken: BrokenInvariant[] = [];
  let store: Store;
  let rules: LedgerRules = ledgerRules;
  beforeAll(async () => {
    store = await openStore({
      ...subject.location,
      ...{ clock: systemClock, timers: systemTimers, ids: createIdSource(systemClock), maxConnections: 3 },
      ledgerRules: (...given) => rules(...given),
      onBroken: (error) => broken.push(error),
    });
  });
  afterAll(async () => {
    await store.close();
    await subject.close();
  });
  beforeEach(() => {
    broken.length = 0;
    rules = ledgerRules;
  });

  const edit = (sql: string) => execute(subject.location, sql);

  /** The commit is refused for this alone, and told once; another that came with it is not concerned. */
  async function refuses(commit: Commit, invariant: string, facts: Record<string, unknown>): Promise<void> {
    const other = { tenantId: commit.tenantId, createRun: runRow(commit.tenantId) };
    const [refused, beside] = await Promise.allSettled([store.commit(commit), store.commit(other)]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'internal', invariant } });
    expect(broken).toHaveLength(1);
    expect(broken[0]).toMatchObject({ invariant, facts: { tenantId: commit.tenantId, ...facts } });
    expect(beside).toMatchObject({ status: 'fulfilled', value: { type: 'committed' } });
    expect((await store.getRun(commit.tenantId, other.createRun.runId))?.status).toBe('queued');
  }

  const reserve = (reservationId: string, tenantId: TenantId, tokens: number): LedgerOperation => ({
    ...{ type: 'reserve', reservationId, runId: null, scopes: [{ kind: 'tenant', id: tenantId }] },
    ...{ fixed: { tokens }, expiresAt: Date.now() + 60_000 },
  });
  const settle = (reservationId: string, tokens: number): LedgerOperation => ({ type: 'settle', reservationId, actual: { tokens } });

  /** A tenant of whose 100 tokens 40 are reserved. */
  async function books(): Promise<TenantId> {
    const tenantId = newTenant();
    const limit = { type: 'limit', scope: { kind: 'tenant', id: tenantId }, unit: 'tokens', window: 'total', limit: 100 } as const;
    await store.commit({ tenantId, ledger: [limit, reserve('held', tenantId, 40)] });
    return tenantId;
  }
  const balance = async (tenantId: TenantId) => (await store.listBudgets(tenantId, {}, Date.now(), { limit: 5 })).items[0];

  async function driven(session: SessionRow, fields: Partial<RunRow> = {}): Promise<RunRow> {
    const { tenantId, sessionId } = session;
    const run = runRow(tenantId, { sessionId, status: 'running', leaseOwner: worker(), epoch: 2, ...fields });
    const events = [{ type: 'step.started' as const, data: { step: 1 } }];
    await store.commit({ tenantId, sessions: [session], createRun: run, events });
    return { ...run, lastSeq: 1 };
  }
  const write = (run: RunRow, more: Partial<Commit> = {}): Commit => ({
    tenantId: run.tenantId,
    run: { runId: run.runId, epoch: run.epoch, owner: run.leaseOwner ?? '', lastSeq: run.lastSeq, patch: { output: 'done' } },
    events: [{ type: 'step.started', data: { step: 2 } }],
    ...more,
  });
  async function isAsBefore(run: RunRow): Promise<void> {
    expect((await store.getRun(run.tenantId, run.runId))?.output).toBeNull();
    expect(await store.readEvents(run.tenantId, run.runId, { after: 0, limit: 10 })).toHaveLength(1);
  }

  describe(`invariants of rows: ${subject.name}`, () => {
    it(`a balance is not below zero ${verifies('invariant.refused')}`, async () => {
      const tenantId = await books();
      await edit(`update budgets set reserved = 0 where tenant_id = '${tenantId}'`);
      const facts = { balance: `tenant:${tenantId}|tokens|total`, limit: 100, spent: 30, reserved: -40 };
      await refuses({ tenantId, ledger: [settle('held', 30)] }, 'budget_balance', facts);
      expect(await balance(tenantId)).toMatchObject({ spent: 0, reserved: 0 });
      expect(await store.listReservations(tenantId, { state: 'open' })).toHaveLength(1);
      expect((await store.listLedgerEntries(tenantId, {}, { limit: 5 })).items).toEqual([]);
    });

    it(`a balance that is taken away and limited again is what the books say ${verifies('invariant.refused')}`, async () => {
      const tenantId = await books();
      await store.commit({ tenantId, ledger: [reserve('other', tenantId, 5), settle('other', 3)] });
      await edit(`update budgets set reserved = 0 where tenant_id = '${tenantId}'`);
      await edit(`delete from budgets where tenant_id = '${tenantId}'`);
      await store.commit({
        tenantId,
        ledger: [{ type: 'limit', scope: { kind: 'tenant', id: tenantId }, unit: 'tokens', window: 'total', limit: 100 }],
      });
      expect(await balance(tenantId)).toMatchObject({ limit: 100, spent: 3, reserved: 40 });
      await store.commit({ tenantId, ledger: [settle('held', 30)] });
      expect(await balance(tenantId)).toMatchObject({ spent: 33, reserved: 0 });
    });

    it(`rules that grant beyond a limit, or forget to hold, grant nothing ${verifies('invariant.refused')}`, async () => {
      const tenantId = await books();
      // As if there were no limits.
      rules = (state, operations, nowMs) => {
        const rows = new Map([...state.rows].map(([key, row]) => [key, { ...row, limit: null }]));
        const change = ledgerRules({ ...state, rows }, operations, nowMs);
        return {
          ...change,
          rows: new Map([...change.rows].map(([key, row]) => [key, { ...row, limit: state.rows.get(key)?.limit ?? null }])),
        };
      };
      await refuses({ tenantId, ledger: [reserve('much', tenantId, 61)] }, 'budget_limit', {
        limit: 100,
        reserved: 101,
        reservationId: 'much',
      });
      expect(await balance(tenantId)).toMatchObject({ reserved: 40 });
      expect((await store.commit({ tenantId, ledger: [reserve('much', tenantId, 60)] })).type).toBe('committed');
    });

    it('what is above a limit because the limit came down, or more was used, is nobody’s fault', async () => {
      const tenantId = await books();
      const limit = { type: 'limit', scope: { kind: 'tenant', id: tenantId }, unit: 'tokens', window: 'total', limit: 10 } as const;
      const results: CommitResult[] = [];
      for (const ledger of [
        [limit],
        [settle('held', 400)],
        [reserve('none', tenantId, 1)],
        [{ ...limit, limit: 1_000 }, reserve('some', tenantId, 1)],
      ])
        results.push(await store.commit({ tenantId, ledger }));
      expect(results.map(({ type }) => type)).toEqual(['committed', 'committed', 'refused', 'committed']);
      expect(broken).toEqual([]);
    });

    it(`a reservation that was closed is not closed again ${verifies('invariant.refused')}`, async () => {
      const tenantId = await books();
      await store.commit({ tenantId, ledger: [settle('held', 30)] });
      await edit(`update reservations set state = 'open' where tenant_id = '${tenantId}'`);
      await refuses({ tenantId, ledger: [settle('held', 30)] }, 'reservation_closed', { reservationId: 'held', before: 'open' });
      expect(await balance(tenantId)).toMatchObject({ spent: 30, reserved: 0 });
    });

    it(`the epoch of a run does not go back ${verifies('invariant.refused')}`, async () => {
      const run = await driven(sessionRow(newTenant()));
      await edit(`update runs set epoch = 1 where run_id = '${run.runId}'`);
      await refuses(write(run), 'run_epoch', { runId: run.runId, epoch: 1, heldEpoch: 2 });
      await isAsBefore(run);
    });

    it(`a journal is not shorter than its holder knows ${verifies('invariant.refused')}`, async () => {
      const run = await driven(sessionRow(newTenant()));
      await edit(`update runs set last_seq = 0 where run_id = '${run.runId}'`);
      await refuses(write(run), 'journal_sequence', { runId: run.runId, lastSeq: 0, heldLastSeq: 1 });
      await isAsBefore(run);
    });

    it(`a run that has ended is not changed, with nothing of what came with it ${verifies('invariant.refused')}`, async () => {
      const run = await driven(sessionRow(newTenant()));
      await edit(`update runs set status = 'completed' where run_id = '${run.runId}'`);
      const pays = reserve('late', run.tenantId, 1);
      await refuses(write(run, { ledger: [pays] }), 'run_ended', { runId: run.runId, status: 'completed', epoch: 2 });
      await isAsBefore(run);
      expect(await store.listReservations(run.tenantId, {})).toEqual([]);
    });

    it(`runs that wait for a session have an order ${verifies('invariant.refused')}`, async () => {
      const session = sessionRow(newTenant());
      const { tenantId, sessionId } = session;
      const first = await driven(session);
      const queued: RunId[] = [];
      for (let index = 0; index < 2; index++) {
        const run = runRow(tenantId, { sessionId, createdAt: 5 });
        await store.commit({ tenantId, openSession: sessionId, place: { whileBusy: 'wait' }, createRun: run });
        queued.push(run.runId);
      }
      const [one] = queued;
      await edit(
        `update runs set created_at = (select max(created_at) from runs where session_id = '${sessionId}') where run_id = '${one}'`,
      );
      await refuses({ ...write(first), leaves: sessionId }, 'session_turns', { sessionId });
      await isAsBefore(first);
      const late = runRow(tenantId, { sessionId, runId: ids.next<RunId>('run') });
      broken.length = 0;
      await refuses({ tenantId, openSession: sessionId, place: { whileBusy: 'wait' }, createRun: late }, 'session_turns', { sessionId });
      expect(await store.getRun(tenantId, late.runId)).toBeNull();
    });

    it(`says nothing that a person or a model wrote ${verifies('invariant.told')}`, async () => {
      const session = sessionRow(newTenant(), { user: 'a secret name', metadata: { note: 'a secret word' } });
      const run = await driven(session, { user: 'a secret name' });
      await edit(`update runs set status = 'failed', output = '"a secret answer"' where run_id = '${run.runId}'`);
      await expect(store.commit(write(run))).rejects.toThrow(/run_ended/);
      expect(JSON.stringify([broken[0], broken[0]?.message, broken[0]?.facts])).not.toContain('secret');
    });
  });
}

describeInvariants(sqliteSubject());
const postgres = await postgresSubject();
if ('reason' in postgres) describe('invariants of rows: postgres', () => it.skip(`not run: ${postgres.reason}`));
else describeInvariants(postgres);
