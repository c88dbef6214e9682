import { createHash } from 'node:crypto';
import type { SessionId, TenantId } from '@nexus-agent/protocol';
import { afterAll, describe, expect, it } from 'vitest';
import { type Quotas, type Store, unlimited } from '../../packages/server/src/storage/contract/index.ts';
import { ids, newTenant, noteContents, runRow, type StoreSubject, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const few = 20;
const quotas: Quotas = {
  tenant: {
    ...unlimited.tenant,
    ...{
      sessions: few,
      agents: few,
      agentVersions: few,
      keys: few,
      approvals: few,
      idempotencyKeys: few,
      queuedRuns: few,
      budgets: few,
      toolSources: few,
    },
    ...{ files: few, contents: few, contentBytes: 1_000 },
  },
  tree: { maxFiles: 15, maxBytes: 500, maxNames: 25 },
  artifacts: { maxCount: few, maxBytes: 500 },
};

/** How much a tenant may have, while two processes add to it at once. */
export function describeQuotas(subject: StoreSubject): void {
  const opened: Promise<Store>[] = [];
  const stores = () => {
    if (opened.length === 0) opened.push(subject.open(undefined, quotas), subject.open(undefined, quotas));
    return Promise.all(opened);
  };
  afterAll(async () => {
    for (const store of await Promise.all(opened)) await store.close();
  });

  /** Does it 60 times over both stores at once; how often it went well, and the first refusal. */
  async function race(work: (store: Store, index: number) => Promise<unknown>) {
    const both = await stores();
    const ended = await Promise.allSettled(Array.from({ length: 60 }, (_, index) => work(both[index % 2] as Store, index)));
    const refusals = ended.flatMap((each) => (each.status === 'rejected' ? [each.reason as Error & { code: string }] : []));
    return { done: ended.length - refusals.length, codes: new Set(refusals.map(({ code }) => code)), refusal: refusals[0] };
  }
  const refused = (kind: string) => ({
    done: few,
    codes: new Set(['quota_exceeded']),
    refusal: expect.objectContaining({
      message: expect.stringMatching(new RegExp(`may have ${few} .*\\(quotas\\.${kind}\\) and has ${few}; `)),
      details: { what: kind, limit: few, used: few, setting: `quotas.${kind}` },
    }),
  });
  const content = (text: string) => ({ sha256: createHash('sha256').update(text).digest('hex'), bytes: text.length, executable: false });
  const agent = (tenantId: TenantId, name: string, version: string) => ({
    ...{ tenantId, name, version, source: 'api' as const, createdAt: 1 },
    definition: { name, instructions: version } as never, // stored as it is
  });

  describe(`how much a tenant may have ${verifies('hostile.shares.quotas')}`, () => {
    it('holds exactly for sessions, also when they are created at once, and what is deleted makes room', async () => {
      const tenantId = newTenant();
      const rows = Array.from({ length: 60 }, () => sessionRow(tenantId));
      expect(await race((store, index) => store.commit({ tenantId, sessions: [rows[index] ?? sessionRow(tenantId)] }))).toEqual(
        refused('sessions'),
      );
      const [store] = await stores();
      const page = await store?.listSessions(tenantId, { limit: 100 });
      expect(page?.items).toHaveLength(few);
      const [first, second] = page?.items ?? [];
      // The same commit again, as after a lost answer, is no further session.
      await expect(store?.commit({ tenantId, sessions: first ? [first] : [] })).resolves.toMatchObject({ type: 'committed' });
      expect(await store?.removeSession(tenantId, second?.sessionId ?? ('' as SessionId))).toBe('removed');
      const again = await race((on) => on.commit({ tenantId, sessions: [sessionRow(tenantId)] }));
      expect(again.done).toBe(1);
      await expect(store?.commit({ tenantId: newTenant(), sessions: [sessionRow(tenantId)] })).resolves.toMatchObject({
        type: 'committed',
      });
    });

    it('holds for idempotency keys, of which those that are old make room', async () => {
      const tenantId = newTenant();
      const claim = (index: number) => ({ key: `key ${index}`, requestHash: 'h', resourceId: 'r' });
      expect(await race((store, index) => store.commit({ tenantId, idempotency: claim(index) }))).toEqual(refused('idempotencyKeys'));
      const [store] = await stores();
      expect((await store?.prune(tenantId, 'idempotencyKeys', { before: Date.now() + 60_000, limit: 5 }))?.gone).toBe(5);
      expect((await race((on, index) => on.commit({ tenantId, idempotency: claim(100 + index) }))).done).toBe(5);
    });

    it(`holds for artifacts of a session, by their number and by their bytes ${verifies('tools.artifacts.refused')}`, async () => {
      for (const [bytes, done, why] of [
        [1, few, /may keep 20 artifacts/],
        [50, 10, /may have 500 bytes, and have 500/],
      ] as const) {
        const tenantId = newTenant();
        const session = sessionRow(tenantId);
        const [first] = await stores();
        await first?.commit({ tenantId, sessions: [session] });
        const { sha256 } = content('of all of them');
        await first?.touchContent({ tenantId, sha256 }, bytes, 1_000);
        const about = { tool: 'big', mediaType: 'text/plain', characters: bytes, lines: 1, whole: true, createdAt: 0, runId: null };
        const row = (index: number) => ({
          ...about,
          tenantId,
          sessionId: session.sessionId,
          artifactId: `art_${index}`,
          callId: 'c',
          bytes,
          sha256,
        });
        const ended = await race((store, index) => store.commit({ tenantId, artifacts: [row(index)] }));
        expect(ended).toMatchObject({ done, codes: new Set(['quota_exceeded']), refusal: { message: expect.stringMatching(why) } });
        expect((await first?.listArtifacts(tenantId, {}, { limit: 100 }))?.items).toHaveLength(done);
      }
    });

    it('holds for sources of tools, and one that is replaced is no further one', async () => {
      const tenantId = newTenant();
      const put = (store: Store, index: number, version = 'v') =>
        store.putToolSource({ tenantId, kind: 'http', name: `s${index}`, version, content: {}, createdAt: 1 });
      expect(await race((store, index) => put(store, index))).toEqual(refused('toolSources'));
      const [store] = await stores();
      const [first] = (await store?.toolSourceHeads(tenantId)) ?? [];
      await store?.putToolSource({ tenantId, kind: 'http', name: first?.name ?? '', version: 'w', content: {}, createdAt: 2 });
      expect(await store?.deleteToolSource(tenantId, 'http', first?.name ?? '')).toBe(true);
      expect((await race((on, index) => put(on, 100 + index))).done).toBe(1);
    });

    it('holds for queued runs, and not for those that runs start', async () => {
      const tenantId = newTenant();
      expect(await race((store) => store.commit({ tenantId, createRun: runRow(tenantId) }))).toEqual({
        ...refused('queuedRuns'),
        refusal: expect.objectContaining({ retryable: true, retryAfterMs: 5_000 }),
      });
      const [store] = await stores();
      const parentRunId = runRow(tenantId).runId;
      await expect(store?.commit({ tenantId, createRun: runRow(tenantId, { parentRunId }) })).resolves.toMatchObject({ type: 'committed' });
    });

    it('holds for agents and their versions', async () => {
      const tenantId = newTenant();
      expect(await race((store, index) => store.putAgent(agent(tenantId, `a${index}`, 'v')))).toEqual(refused('agents'));
      const [store] = await stores();
      const [known] = (await store?.listAgents(tenantId, { limit: 1 }))?.items ?? [];
      const name = known?.name ?? '';
      expect((await race((on, index) => on.putAgent(agent(tenantId, name, `v${index}`)))).done).toBe(few - 1);
      await expect(store?.putAgent(agent(tenantId, name, 'v'))).resolves.toBeUndefined(); // one that is there
      expect(await store?.deleteAgent(tenantId, name)).toBe('deleted');
      await expect(store?.putAgent(agent(tenantId, 'another', 'v'))).resolves.toBeUndefined();
    });

    it('holds for keys, of which those that are revoked make room', async () => {
      const tenantId = newTenant();
      const key = (keyId: string) => ({
        ...{
          tenantId,
          keyId,
          name: keyId,
          hash: 'h',
          secretId: null,
          scopes: [],
          roles: [],
          createdAt: 1,
          expiresAt: null,
          revokedAt: null,
        },
      });
      expect(await race((store, index) => store.putKey(key(`${tenantId}-${index}`)))).toEqual(refused('keys'));
      const [store] = await stores();
      const [first] = (await store?.listKeys(tenantId, { limit: 1 }))?.items ?? [];
      await store?.revokeKey(tenantId, first?.keyId ?? '', 2);
      await expect(store?.putKey(key(`${tenantId}-more`))).resolves.toBe(true);
    });

    it('holds for scopes with a budget, of which one that is there may be changed', async () => {
      const tenantId = newTenant();
      const limit = (id: string, amount: number) => ({
        tenantId,
        ledger: [
          {
            type: 'limit' as const,
            scope: { kind: 'user' as const, id },
            unit: 'tokens' as const,
            window: 'total' as const,
            limit: amount,
          },
        ],
      });
      const [store] = await stores();
      for (let index = 0; index < few; index++) await store?.commit(limit(`u${index}`, 5));
      await expect(store?.commit(limit('one more', 5))).rejects.toMatchObject({ code: 'quota_exceeded', details: { what: 'budgets' } });
      await expect(store?.commit(limit('u1', 7))).resolves.toMatchObject({ type: 'committed' });
    });
  });

  describe(`how much files may be ${verifies('hostile.shares.disk')}`, () => {
    async function begin(tenantId: TenantId) {
      const [store] = await stores();
      const sessionId = ids.next<SessionId>('session');
      await store?.commit({ tenantId, sessions: [sessionRow(tenantId, { sessionId })] });
      await store?.beginFileTree(tenantId, { treeId: sessionId, sessionId }, []);
      if (store !== undefined) await noteContents(store, tenantId, ['', 'x'.repeat(500), 'x'.repeat(501)].map(content));
      return sessionId;
    }
    const write = (tenantId: TenantId, treeId: string, path: string, text: string | null, callId = 'call') => ({
      tenantId,
      files: [{ treeId, runId: null, callId, changes: [{ path, content: text === null ? null : content(text) }] }],
    });

    it('is checked in the transaction that writes them: files, bytes, and names of paths', async () => {
      const tenantId = newTenant();
      const treeId = await begin(tenantId);
      const files = await race((store, index) => store.commit(write(tenantId, treeId, `f${index}`, '')));
      expect(files).toMatchObject({ done: 15, codes: new Set(['payload_too_large']) });
      expect(files.refusal).toMatchObject({ details: { callId: 'call', used: { files: 15 } } });
      const [store] = await stores();
      expect(await store?.getFileTree(tenantId, treeId)).toMatchObject({ files: 15, bytes: 0 });
      // What makes them fewer, and what takes the place of another, is never refused.
      const [some] = (await store?.listFiles(tenantId, treeId, { after: 0, version: 100 }, { limit: 1 }))?.items ?? [];
      await expect(store?.commit(write(tenantId, treeId, some?.path ?? '', 'x'.repeat(500)))).resolves.toMatchObject({ type: 'committed' });
      await expect(store?.commit(write(tenantId, treeId, some?.path ?? '', 'x'.repeat(501)))).rejects.toMatchObject({
        code: 'payload_too_large',
      });
      await expect(store?.commit(write(tenantId, treeId, some?.path ?? '', null))).resolves.toMatchObject({ type: 'committed' });
      const deep = await begin(newTenant());
      expect(deep).toBeDefined();
    });

    it('counts folders by the names of paths', async () => {
      const tenantId = newTenant();
      const treeId = await begin(tenantId);
      const deep = (index: number) => `${index}/a/b/c/d`; // five names each
      expect((await race((store, index) => store.commit(write(tenantId, treeId, deep(index), '')))).done).toBe(5);
      const other = await begin(tenantId);
      expect((await race((store, index) => store.commit(write(tenantId, other, `${index}`.padEnd(500, 'x'), '')))).done).toBe(5);
    });

    it('holds over all sessions of a tenant, and what a deleted session had makes room', async () => {
      const tenantId = newTenant();
      const [store] = await stores();
      const session = sessionRow(tenantId);
      await store?.commit({ tenantId, sessions: [session] });
      await store?.beginFileTree(tenantId, { treeId: session.sessionId, sessionId: session.sessionId }, []);
      const trees = [session.sessionId, await begin(tenantId), await begin(tenantId)];
      for (let index = 0; index < 10; index++) await store?.commit(write(tenantId, session.sessionId, `f${index}`, ''));
      const all = await race((on, index) => on.commit(write(tenantId, trees[1 + (index % 2)] ?? '', `f${index}`, '')));
      expect(all).toMatchObject({ done: few - 10, codes: new Set(['quota_exceeded']) });
      expect(all.refusal).toMatchObject({ details: { what: 'files', callId: 'call' } });
      expect(await store?.removeSession(tenantId, session.sessionId)).toBe('removed');
      while (await store?.removeSome({ tenantId, kind: 'session', id: session.sessionId }, 3, 1_000));
      expect((await race((on, index) => on.commit(write(tenantId, trees[1 + (index % 2)] ?? '', `g${index}`, '')))).done).toBe(10);
    });

    it('counts what is kept, once for each content, until it is gone', async () => {
      const tenantId = newTenant();
      const blob = (index: number) => ({ tenantId, sha256: content(`${index}`).sha256, bytes: 100 });
      const kept = await race((store, index) => store.touchContent(blob(index % 30), 60_000, 1_000));
      expect(kept.codes).toEqual(new Set(['quota_exceeded']));
      expect(kept.refusal).toMatchObject({ details: { what: 'contentBytes', limit: 1_000 } });
      const [store] = await stores();
      const there: number[] = [];
      for (let index = 0; index < 30; index++)
        if (await store?.touchContent(blob(index), 60_000, 1_000).then(Boolean, () => false)) there.push(index);
      expect(there).toHaveLength(10);
      await store?.endRemoval({ tenantId, kind: 'leaving', id: blob(there[0] ?? 0).sha256 });
      await expect(store?.touchContent(blob(99), 60_000, 1_000)).resolves.toBeTypeOf('number');
      await expect(store?.touchContent(blob(98), 60_000, 1_000)).rejects.toMatchObject({ code: 'quota_exceeded' });
    });
  });
}
