import type { TenantId } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { type Bus, openTopic } from '#bus';
import type { Clock } from '#core';
import type { Store, ToolSourceHead, ToolSourceKind, ToolSourceRow } from '#storage';

type HeadStore = Pick<Store, 'toolSourceHeads'>;

/** What is known of the sources of tenants, looked at again after so long. */
const freshMs = 1_000;
const maxTenants = 10_000;

/** Which sources tenants have, as of a second ago: one question for all kinds. */
export interface SourceHeads {
  of(tenantId: string): Promise<readonly ToolSourceHead[]>;
  /** Something was put or removed: it is looked at anew, here and, where news comes through, at all nodes. */
  changed(tenantId: string): void;
  close(): void;
}

const Changed = z.object({ tenantId: z.string() });

export function createSourceHeads({
  store,
  clock,
  bus,
}: {
  readonly store: HeadStore;
  readonly clock: Clock;
  readonly bus: Bus;
}): SourceHeads {
  const news = openTopic(bus, 'tool-sources', Changed);
  const end = news.subscribe(({ tenantId }) => void known.delete(tenantId));
  const known = new LRUCache<string, { readonly at: number; readonly heads: Promise<readonly ToolSourceHead[]> }>({ max: maxTenants });
  return {
    of(tenantId) {
      const found = known.get(tenantId);
      const now = clock.monotonic();
      if (found !== undefined && now - found.at < freshMs) return found.heads;
      const heads = store.toolSourceHeads(tenantId as TenantId); // a tenant of a principal or a run
      known.set(tenantId, { at: now, heads });
      heads.catch(() => known.delete(tenantId));
      return heads;
    },
    changed(tenantId) {
      known.delete(tenantId);
      news.publish({ tenantId });
    },
    close: end,
  };
}

export interface FollowedSourcesOptions<T> {
  readonly kind: ToolSourceKind;
  readonly heads: SourceHeads;
  readonly store: Pick<Store, 'getToolSource'>;
  /** What a row gives; made once for each version of it. What it throws, whoever asks for the list is told. */
  readonly build: (row: ToolSourceRow) => readonly T[] | Promise<readonly T[]>;
}

interface Built<T> {
  readonly mark: string;
  readonly parts: ReadonlyMap<string, { readonly version: string; readonly items: readonly T[] }>;
  readonly all: readonly T[];
}

/** What the sources of one kind give a tenant: the same list until one of them changes, and of the others the same items then. */
export function createFollowedSources<T>({
  kind,
  heads,
  store,
  build,
}: FollowedSourcesOptions<T>): (tenantId: string) => Promise<readonly T[]> {
  const known = new LRUCache<string, Built<T>>({ max: maxTenants });
  const building = new Map<string, { readonly mark: string; readonly built: Promise<Built<T>> }>();
  const none: readonly T[] = [];
  return async (tenantId) => {
    const present = (await heads.of(tenantId)).filter((head) => head.kind === kind);
    if (present.length === 0) return none;
    const mark = JSON.stringify(present.map(({ name, version }) => [name, version]));
    const before = known.get(tenantId);
    if (before?.mark === mark) return before.all;
    // Whoever asks meanwhile is given the same.
    const others = building.get(tenantId);
    if (others?.mark === mark) return (await others.built).all;
    const own = { mark, built: buildAll(tenantId, present, mark, before) };
    building.set(tenantId, own);
    try {
      const built = await own.built;
      known.set(tenantId, built);
      return built.all;
    } finally {
      if (building.get(tenantId) === own) building.delete(tenantId);
    }
  };

  async function buildAll(
    tenantId: string,
    present: readonly ToolSourceHead[],
    mark: string,
    before: Built<T> | undefined,
  ): Promise<Built<T>> {
    const parts = new Map<string, { version: string; items: readonly T[] }>();
    for (const { name, version } of present) {
      const same = before?.parts.get(name);
      if (same !== undefined && same.version === version) {
        parts.set(name, same);
        continue;
      }
      const row = await store.getToolSource(tenantId as TenantId, kind, name); // as above
      if (row !== null) parts.set(name, { version: row.version, items: await build(row) });
    }
    return { mark, parts, all: [...parts.values()].flatMap(({ items }) => items) };
  }
}
