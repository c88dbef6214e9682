import { createHash } from 'node:crypto';
import type { SessionId } from '@nexus-agent/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ArtifactRow, Store } from '../../packages/server/src/storage/index.ts';
import { ids, newTenant, noteContents, sessionRow } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

/** Results of tools that are kept: rows that name a content, in the session that they came in. */
export function describeArtifacts(open: () => Promise<Store>): void {
  let store: Store;
  beforeAll(async () => {
    store = await open();
  });

  async function begin() {
    const tenantId = newTenant();
    const sessionId = ids.next<SessionId>('session');
    await store.commit({ tenantId, sessions: [sessionRow(tenantId, { sessionId })] });
    let made = 0;
    const row = (text: string): ArtifactRow => {
      made += 1;
      const sha256 = createHash('sha256').update(text).digest('hex');
      const about = { runId: null, callId: `call_${made}`, tool: 'big', mediaType: 'text/plain', lines: 1, whole: true, createdAt: 0 };
      return { tenantId, sessionId, artifactId: `art_${made}`, ...about, bytes: text.length, characters: text.length, sha256 };
    };
    return { tenantId, sessionId, row };
  }

  describe('artifacts', () => {
    it(`are there with their commit, for their tenant alone, and go with their session ${verifies('tools.artifacts.rows')}`, async () => {
      const { tenantId, sessionId, row } = await begin();
      const [one, two] = [row('one'), row('two')];
      await noteContents(store, tenantId, [one, two]);
      await store.commit({ tenantId, artifacts: [one] });
      await store.commit({ tenantId, artifacts: [two] });
      expect(await store.getArtifact(tenantId, one.artifactId)).toMatchObject({ sha256: one.sha256, whole: true });
      expect(await store.getArtifact(newTenant(), one.artifactId)).toBeNull();
      const first = await store.listArtifacts(tenantId, { sessionId }, { limit: 1 });
      const cursor = first.nextCursor ?? '';
      const next = await store.listArtifacts(tenantId, { sessionId }, { limit: 1, cursor });
      expect([...first.items, ...next.items].map(({ artifactId }) => artifactId).sort()).toEqual(['art_1', 'art_2']);

      expect(await store.removeSession(tenantId, sessionId)).toBe('removed');
      const removal = { tenantId, kind: 'session' as const, id: sessionId };
      while (await store.removeSome(removal, 1, 1_000));
      expect((await store.listArtifacts(tenantId, { sessionId }, { limit: 10 })).items).toEqual([]);
      await expect(store.commit({ tenantId, artifacts: [row('one')] })).rejects.toMatchObject({ code: 'not_found' });
    });

    it(`name no content that may be gone, and a named one is not removed ${verifies('tools.artifacts.rows')}`, async () => {
      const { tenantId, row } = await begin();
      const lost = row('never put');
      await expect(store.commit({ tenantId, artifacts: [lost] })).rejects.toMatchObject({ code: 'storage_unavailable' });
      expect(await store.getArtifact(tenantId, lost.artifactId)).toBeNull();
      const kept = row('kept');
      await store.touchContent({ tenantId, sha256: kept.sha256 }, 0, 1_000);
      await store.commit({ tenantId, artifacts: [kept] });
      expect(await store.takeContent({ tenantId, kind: 'content', id: kept.sha256 }, 1_000)).toBe('kept');
    });
  });
}
