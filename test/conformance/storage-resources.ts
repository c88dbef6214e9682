import type { AgentDefinition } from '@nexus-agent/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import type {
  AgentVersionRow,
  DecisionRow,
  KeyRow,
  PageOf,
  PageRequest,
  RunRow,
  SessionRow,
  Store,
} from '../../packages/server/src/storage/index.ts';
import { all } from '../support/ledger-invariants.ts';
import { ids, newTenant, runRow, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

/** Sessions, agents, keys, decisions, lists and idempotency keys. */
export function describeResourceStore(open: () => Promise<Store>): void {
  let store: Store;
  beforeAll(async () => {
    store = await open();
  });

  describe('resources', () => {
    it('gives back a session as it was written, to its tenant only, and closes it once', async () => {
      const session = sessionRow(newTenant(), {
        policy: { allow: ['fs_*'], deny: [] },
        user: 'ann|b:c',
        project: 'é😀',
        metadata: { a: '\u0000\ud800' },
      });
      await store.commit({ tenantId: session.tenantId, sessions: [session] });
      expect(await store.getSession(session.tenantId, session.sessionId)).toEqual(session);
      expect(await store.getSession(newTenant(), session.sessionId)).toBeNull();
      expect(await store.closeSession(newTenant(), session.sessionId)).toBe(false);
      expect(await store.closeSession(session.tenantId, session.sessionId)).toBe(true);
      expect(await store.closeSession(session.tenantId, session.sessionId)).toBe(false);
      expect(await store.getSession(session.tenantId, session.sessionId)).toEqual({ ...session, status: 'closed' });
    });

    it('finds nothing by a name that cannot be stored', async () => {
      const tenantId = newTenant();
      for (const name of ['\u0000', 'a\u0000b', '\ud800']) {
        expect(await store.getSession(tenantId, name as SessionRow['sessionId'])).toBeNull();
        expect(await store.getRun(tenantId, name as RunRow['runId'])).toBeNull();
        expect(await store.getAgent(tenantId, name)).toBeNull();
        expect(await store.getAgent(tenantId, 'a', name)).toBeNull();
        expect((await store.listRuns(tenantId, { sessionId: name as SessionRow['sessionId'] }, { limit: 5 })).items).toEqual([]);
      }
    });

    it('keeps every version of an agent and serves the last one that was put', async () => {
      const tenantId = newTenant();
      const put = (name: string, version: string, createdAt: number) =>
        store.putAgent({ tenantId, name, version, source: 'api', definition: definition(name, version), createdAt });
      await put('beta', 'agv_1', 1);
      await put('beta', 'agv_2', 2);
      await put('alpha', 'agv_3', 3);
      await Promise.all([put('beta', 'agv_2', 99), put('beta', 'agv_2', 98)]);
      expect(await store.getAgent(tenantId, 'beta')).toMatchObject({
        version: 'agv_2',
        createdAt: 2,
        definition: definition('beta', 'agv_2'),
      });
      expect(await store.getAgent(tenantId, 'beta', 'agv_1')).toMatchObject({ version: 'agv_1', source: 'api' });
      expect(await store.getAgent(tenantId, 'gamma')).toBeNull();
      expect(await store.getAgent(newTenant(), 'beta')).toBeNull();
      const listed = await all((page) => store.listAgents(tenantId, { ...page, limit: 1 }));
      expect(listed.map((agent) => [agent.name, agent.version])).toEqual([
        ['alpha', 'agv_3'],
        ['beta', 'agv_2'],
      ]);
    });

    it(`never replaces an agent that its tenant put, and lists it among those that all have ${verifies('agents.own')}`, async () => {
      const tenantId = newTenant();
      const agent = (name: string, version: string, source: AgentVersionRow['source']): AgentVersionRow => ({
        ...{ tenantId, name, version, source, definition: definition(name, version), createdAt: 1 },
      });
      const shared = ['alpha', 'beta', 'delta', 'gamma'].map((name) => agent(name, 'agv_file', 'file'));
      const list = (limit: number) => all((page) => store.listAgents(tenantId, { ...page, limit }, shared));
      expect(await list(2)).toEqual(shared);
      expect(await store.getAgent(tenantId, 'alpha')).toBeNull(); // reading has stored nothing
      await store.putAgent(agent('beta', 'agv_own', 'api'));
      await store.putAgent(agent('epsilon', 'agv_own', 'api'));
      await Promise.all([...shared, agent('beta', 'agv_newer', 'file')].map((row) => store.putAgent(row)));
      for (const limit of [1, 2, 3, 100]) {
        expect((await list(limit)).map(({ name, version }) => [name, version])).toEqual([
          ['alpha', 'agv_file'],
          ['beta', 'agv_own'],
          ['delta', 'agv_file'],
          ['epsilon', 'agv_own'],
          ['gamma', 'agv_file'],
        ]);
      }
      expect(await store.getAgent(tenantId, 'beta')).toMatchObject({ version: 'agv_own', source: 'api' });
      // What is put with the content of a file is the tenant's own all the same.
      await store.putAgent(agent('gamma', 'agv_file', 'api'));
      await store.putAgent(agent('gamma', 'agv_newer', 'file'));
      expect(await store.getAgent(tenantId, 'gamma')).toMatchObject({ version: 'agv_file', source: 'api' });
      await store.putAgent(agent('alpha', 'agv_newer', 'file'));
      expect(await store.getAgent(tenantId, 'alpha')).toMatchObject({ version: 'agv_newer', source: 'file' });
    });

    it('finds a key by its id alone and revokes it once', async () => {
      const key: KeyRow = {
        tenantId: newTenant(),
        keyId: ids.next<string>('key'),
        name: 'laptop \u0000',
        hash: 'ab',
        secretId: null,
        scopes: ['runs', 'admin'],
        roles: ['lead', 'night.shift'],
        createdAt: 1,
        expiresAt: null,
        revokedAt: null,
      };
      await store.putKey(key);
      expect(await store.getKey(key.keyId)).toEqual(key);
      expect((await store.listKeys(key.tenantId, { limit: 5 })).items).toEqual([key]);
      expect(await store.revokeKey(newTenant(), key.keyId, 7)).toBe(false);
      expect(await store.revokeKey(key.tenantId, key.keyId, 7)).toBe(true);
      expect(await store.revokeKey(key.tenantId, key.keyId, 8)).toBe(false);
      expect(await store.getKey(key.keyId)).toEqual({ ...key, revokedAt: 7 });
      await expect(store.putKey(key)).rejects.toMatchObject({ code: 'conflict' });
      expect(await store.getKey('key_unknown')).toBeNull();
    });

    it('keeps policy decisions in the order in which they were made', async () => {
      const run = runRow(newTenant());
      const decision = (id: string, at: number, runId: string | null): DecisionRow => ({
        id,
        effect: 'deny',
        action: 'tool.execute',
        principal: 'user:ann',
        resource: 'tool:fs_write',
        reasons: ['p1'],
        policyVersion: 'v1',
        obligations: [{ type: 'cap_tokens', maxTokens: 5 }],
        runId,
        callId: null,
        argumentsHash: 'ff',
        at,
      });
      const made = [decision('dec_z', 1, run.runId), decision('dec_a', 2, run.runId), decision('dec_b', 2, null)];
      await store.commit({ tenantId: run.tenantId, decisions: made });
      expect(await all((page) => store.listDecisions(run.tenantId, {}, { ...page, limit: 1 }))).toEqual(made);
      expect(await all((page) => store.listDecisions(run.tenantId, { runId: run.runId }, page))).toEqual(made.slice(0, 2));
    });
  });

  describe('lists', () => {
    it('pages through runs newest first, each once, though others are added meanwhile', async () => {
      const tenantId = newTenant();
      const session = sessionRow(tenantId);
      // Several share a millisecond: the id decides then.
      const runs = Array.from({ length: 25 }, (_, index) =>
        runRow(tenantId, {
          sessionId: session.sessionId,
          createdAt: 1000 + Math.floor(index / 4),
          status: index % 2 ? 'completed' : 'queued',
        }),
      );
      for (const run of runs) await store.commit({ tenantId, createRun: run });
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const page: PageOf<{ runId: string }> = await store.listRuns(
          tenantId,
          { sessionId: session.sessionId },
          { limit: 4, ...(cursor === undefined ? {} : { cursor }) },
        );
        seen.push(...page.items.map((run) => run.runId));
        cursor = page.nextCursor ?? undefined;
        await store.commit({ tenantId, createRun: runRow(tenantId, { sessionId: session.sessionId, createdAt: 5000 }) });
      } while (cursor !== undefined);
      expect(seen).toEqual(runs.map((run) => run.runId).reverse());
      const completed = await all((page) => store.listRuns(tenantId, { status: 'completed' }, page));
      expect(completed.map((run) => run.runId)).toEqual(
        runs
          .filter((run) => run.status === 'completed')
          .map((run) => run.runId)
          .reverse(),
      );
      expect((await store.listRuns(newTenant(), {}, { limit: 10 })).items).toEqual([]);
    });

    it('puts fewer of what is long on a page, never none, and leaves out nothing', async () => {
      const tenantId = newTenant();
      const [long, longer] = ['y'.repeat(1_900_000), 'z'.repeat(5_000_000)];
      const answers = ['a', long, long, long, longer, 'b', 'c'];
      const runs = answers.map((output, index) => runRow(tenantId, { createdAt: 1000 - index, status: 'completed', output }));
      for (const run of runs) await store.commit({ tenantId, createRun: run });
      const pages: number[] = [];
      const listed = await all(async (page) => {
        const found = await store.listRuns(tenantId, {}, page);
        pages.push(found.items.length);
        return found;
      });
      expect(listed.map(({ runId }) => runId)).toEqual(runs.map(({ runId }) => runId));
      expect(pages).toEqual([3, 1, 1, 2]);

      const instructions = 'i'.repeat(100_000);
      const names = Array.from({ length: 90 }, (_, index) => `agent-${String(index).padStart(2, '0')}`);
      for (const name of names)
        await store.putAgent({
          tenantId,
          name,
          version: 'agv_1',
          source: 'api',
          definition: { ...definition(name, '1'), instructions },
          createdAt: 1,
        });
      const first = await store.listAgents(tenantId, { limit: 200 });
      expect(first.items.length).toBeLessThan(45);
      expect(await store.listAgentNames(tenantId, 1_000)).toEqual(names);
      expect(await store.listAgentNames(tenantId, 2)).toEqual(names.slice(0, 2));
      expect((await all((page) => store.listAgents(tenantId, page))).map(({ name }) => name)).toEqual(names);
    });

    it('ends a list that fills its last page exactly', async () => {
      const tenantId = newTenant();
      await store.commit({ tenantId, sessions: [sessionRow(tenantId), sessionRow(tenantId)] });
      expect((await store.listSessions(tenantId, { limit: 2 })).nextCursor).toBeNull();
      expect((await store.listSessions(tenantId, { limit: 1 })).nextCursor).not.toBeNull();
    });

    it('refuses a cursor that it did not make', async () => {
      const lists: ((page: PageRequest) => Promise<unknown>)[] = [
        (page) => store.listRuns(newTenant(), {}, page),
        (page) => store.listAgents(newTenant(), page),
        (page) => store.listBudgets(newTenant(), {}, 0, page),
      ];
      for (const list of lists) {
        for (const cursor of ['', 'x', 'bnVsbA', 'WzEsMiwzLDRd']) {
          await expect(list({ limit: 1, cursor })).rejects.toMatchObject({ code: 'invalid_request' });
        }
      }
    });
  });

  describe('idempotency keys', () => {
    it(`creates once for a key, whichever process asks ${verifies('api.idempotency')}`, async () => {
      const tenantId = newTenant();
      const stores = [store, await open(), await open()];
      const attempts = stores.flatMap((each) =>
        Array.from({ length: 10 }, () => {
          const session = sessionRow(tenantId);
          const idempotency = { key: 'same', requestHash: 'h', resourceId: session.sessionId };
          return each.commit({ tenantId, sessions: [session], idempotency });
        }),
      );
      const results = await Promise.all(attempts);
      const { items } = await store.listSessions(tenantId, { limit: 100 });
      expect(items).toHaveLength(1);
      expect(results.filter((result) => result.type === 'committed')).toHaveLength(1);
      const duplicate = { type: 'duplicate', resourceId: items[0]?.sessionId, sameRequest: true };
      expect(results.filter((result) => result.type === 'duplicate')).toEqual(Array.from({ length: 29 }, () => duplicate));
      const other = { key: 'same', requestHash: 'other', resourceId: 'x' };
      expect(await store.commit({ tenantId, idempotency: other })).toMatchObject({ type: 'duplicate', sameRequest: false });
      expect((await store.commit({ tenantId: newTenant(), idempotency: other })).type).toBe('committed');
    });

    it('leaves the key free when what it stood for was refused', async () => {
      const tenantId = newTenant();
      const scope = { kind: 'tenant', id: tenantId } as const;
      const idempotency = { key: 'k', requestHash: 'h', resourceId: 'r' };
      await store.commit({ tenantId, ledger: [{ type: 'limit', scope, unit: 'tokens', window: 'total', limit: 1 }] });
      const reserve = (tokens: number) =>
        store.commit({
          tenantId,
          idempotency,
          ledger: [{ type: 'reserve', reservationId: 'a', runId: null, scopes: [scope], fixed: { tokens }, expiresAt: 1 }],
        });
      expect((await Promise.all([reserve(2), reserve(1), reserve(1)])).map((result) => result.type)).toEqual([
        'refused',
        'committed',
        'duplicate',
      ]);
    });
  });
}

function definition(name: string, instructions: string): AgentDefinition {
  return {
    name,
    description: '',
    instructions,
    models: ['sim/quick'],
    tools: [],
    subagents: [],
    maxSteps: 5,
    maxParallelTools: 2,
    maxOutputTokens: 100,
    timeoutMs: 1000,
    approvalTimeoutMs: 1000,
  };
}
