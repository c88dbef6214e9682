import type { Page, PluginKey, PluginKeyRequest } from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Clock, canonicalJson, NexusError, sha256, toTimestamp } from '#core';
import type { Principal } from '#identity';
import { type PageRequest, type ToolSourceRow, type ToolSourceStore, viewPage } from '#storage';
import { fingerprintOfKey, keyOfRowName, pluginKeyKind, rowNameOfKey } from '#tools';

/** The keys that a tenant trusts for its plugins, beside the operator's, and those that it trusts no more. */
export interface TrustedKeys {
  /** The operator's come first. */
  list(principal: Principal, page: PageRequest): Promise<Page<PluginKey>>;
  /** Throws `conflict` for a key that was revoked and is to be trusted: it must be removed first. */
  put(principal: Principal, request: PluginKeyRequest): Promise<PluginKey>;
  /** Forgets what was said of a key. Throws `not_found`. */
  remove(principal: Principal, fingerprint: string): Promise<void>;
}

export interface TrustedKeysParts {
  readonly store: Pick<ToolSourceStore, 'putToolSource' | 'getToolSource' | 'listToolSources' | 'deleteToolSource'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly trustedKeys: readonly string[];
  readonly onChange: (tenantId: string) => void;
}

const KeptKey = z.object({ publicKey: z.string(), name: z.string(), addedBy: z.string() });
const states = ['revoked', 'trusted'] as const;

export function createTrustedKeys({ store, clock, trustedKeys, onChange }: TrustedKeysParts): TrustedKeys {
  return {
    async list({ tenantId }, page) {
      const own = viewPage(await store.listToolSources(tenantId, pluginKeyKind, page), viewOfRow);
      return page.cursor === undefined ? { ...own, data: [...trustedKeys.map(viewOfOperators), ...own.data] } : own;
    },
    async put({ tenantId, id }, { publicKey, name, state }) {
      const fingerprint = fingerprintOfKey(publicKey);
      if (state === 'trusted' && (await store.getToolSource(tenantId, pluginKeyKind, rowNameOfKey(fingerprint, 'revoked'))) !== null)
        throw new NexusError(
          'conflict',
          `the key ${fingerprint} was revoked, and what is revoked is not trusted by accident: remove it first, then add it`,
        );
      const content = { publicKey, name, addedBy: id };
      const row: ToolSourceRow = {
        ...{ tenantId, kind: pluginKeyKind, name: rowNameOfKey(fingerprint, state), content, createdAt: clock.now() },
        version: sha256(canonicalJson(content)),
      };
      await store.putToolSource(row);
      if (state === 'revoked') await store.deleteToolSource(tenantId, pluginKeyKind, rowNameOfKey(fingerprint, 'trusted'));
      onChange(tenantId);
      return viewOfRow(row);
    },
    async remove({ tenantId }, fingerprint) {
      let wasThere = false;
      for (const state of states)
        wasThere = (await store.deleteToolSource(tenantId, pluginKeyKind, rowNameOfKey(fingerprint, state))) || wasThere;
      onChange(tenantId);
      if (!wasThere)
        throw new NexusError(
          'not_found',
          `this tenant has said nothing of a key ${JSON.stringify(fingerprint)}; keys of the operator are in plugins.trustedKeys, and can be revoked for the tenant`,
        );
    },
  };
}

/** Under which name a tenant knows a key; null for one that it does not know. */
export async function signerOf(
  store: Pick<ToolSourceStore, 'getToolSource'>,
  tenantId: ToolSourceRow['tenantId'],
  publicKey: string | null,
): Promise<string | null> {
  if (publicKey === null) return null;
  for (const state of states) {
    const row = await store.getToolSource(tenantId, pluginKeyKind, rowNameOfKey(fingerprintOfKey(publicKey), state));
    if (row !== null) return viewOfRow(row).name;
  }
  return null;
}

function viewOfRow({ name: rowName, content, createdAt }: ToolSourceRow): PluginKey {
  const read = KeptKey.safeParse(content);
  const { publicKey, name, addedBy } = read.success ? read.data : { publicKey: '', name: 'cannot be read; remove it', addedBy: null };
  return { ...keyOfRowName(rowName), publicKey, name, origin: 'tenant', addedBy, addedAt: toTimestamp(createdAt) };
}

function viewOfOperators(publicKey: string): PluginKey {
  return {
    ...{ fingerprint: fingerprintOfKey(publicKey), publicKey, name: 'operator', state: 'trusted', origin: 'operator' },
    ...{ addedBy: null, addedAt: null },
  };
}
