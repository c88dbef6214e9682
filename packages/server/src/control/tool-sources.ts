import type { Page, StoredToolSource, ToolSourceInfo } from '@nexus-agent/protocol';
import { type Clock, canonicalJson, NexusError, sha256, toTimestamp } from '#core';
import type { Principal } from '#identity';
import { type PageRequest, type ToolSourceKind, type ToolSourceRow, type ToolSourceStore, viewPage } from '#storage';
import { pluginKeyKind, type ToolService } from '#tools';

/** What is known of the definitions of a kind. */
export interface ToolSourceRules {
  /**
   * What a definition is called, and the tools that it has, where it says so. The definition is one that the schema of its kind has let
   * through, or that was stored.
   */
  describe(definition: unknown): { readonly name: string; readonly tools?: readonly string[] };
  /** Throws `invalid_request` for what cannot work; what comes back will not work for now. */
  check(tenantId: string, definition: unknown): Promise<readonly string[]>;
}

/** Where tools come from, as people administer it. */
export interface ToolSources {
  list(principal: Principal, kind: ToolSourceKind, page: PageRequest): Promise<Page<ToolSourceInfo>>;
  /** Throws `not_found`. */
  get(principal: Principal, kind: ToolSourceKind, name: string): Promise<StoredToolSource<unknown>>;
  /** In the place of one of this name. Throws `invalid_request` that says all that is wrong, and `quota_exceeded`. */
  put(principal: Principal, kind: ToolSourceKind, name: string, definition: unknown): Promise<StoredToolSource<unknown>>;
  /** Its tools are gone with the next step of each run. Throws `not_found`. */
  remove(principal: Principal, kind: ToolSourceKind, name: string): Promise<void>;
}

export interface ToolSourcesOptions {
  readonly store: ToolSourceStore;
  readonly clock: Pick<Clock, 'now'>;
  readonly tools: Pick<ToolService, 'list'>;
  readonly kinds: Partial<Readonly<Record<ToolSourceKind, ToolSourceRules>>>;
  /** Told once something of a tenant has changed. */
  readonly onChanged: (tenantId: string) => void;
}

const maxNamed = 5;

export function createToolSources({ store, clock, tools, kinds, onChanged }: ToolSourcesOptions): ToolSources {
  function rulesOf(kind: ToolSourceKind): ToolSourceRules {
    const rules = kinds[kind];
    if (rules === undefined) throw new NexusError('not_found', `there are no sources of tools of the kind ${kind} here`);
    return rules;
  }

  function infoOf({ kind, name, version, createdAt, content }: ToolSourceRow): ToolSourceInfo {
    const { tools } = rulesOf(kind).describe(content);
    if (kind === pluginKeyKind) throw new TypeError('a key is no source of tools');
    return { kind, name, version, createdAt: toTimestamp(createdAt), ...(tools === undefined ? {} : { tools: tools.length }) };
  }

  /** A tool whose name another source has is left out of the list. */
  async function notesOnNames({ tenantId }: Principal, source: string, names: readonly string[]): Promise<string[]> {
    const others = new Map(
      (await tools.list(tenantId)).flatMap((tool) => (tool.source === source ? [] : [[tool.name, tool.source ?? 'program']])),
    );
    const taken = names.filter((name) => others.has(name));
    const more = taken.length > maxNamed ? ` (and ${taken.length - maxNamed} more)` : '';
    if (taken.length === 0) return [];
    return [
      `others have tools of these names, so that theirs are used: ${taken.slice(0, maxNamed).join(', ')}${more}; give them other names`,
    ];
  }

  return {
    list: async ({ tenantId }, kind, page) => {
      rulesOf(kind);
      return viewPage(await store.listToolSources(tenantId, kind, page), infoOf);
    },
    async get({ tenantId }, kind, name) {
      rulesOf(kind);
      const row = await store.getToolSource(tenantId, kind, name);
      if (row === null) throw new NexusError('not_found', `there is no ${kind} source of tools ${JSON.stringify(name)}`);
      return { ...infoOf(row), definition: row.content };
    },
    async put(principal, kind, name, definition) {
      const { tenantId } = principal;
      const rules = rulesOf(kind);
      const described = rules.describe(definition);
      if (described.name !== name)
        throw new NexusError(
          'invalid_request',
          `the definition is named ${JSON.stringify(described.name)} and the address ${JSON.stringify(name)}; give both the same`,
        );
      const warnings = [
        ...(await rules.check(tenantId, definition)),
        ...(await notesOnNames(principal, `${kind}:${name}`, described.tools ?? [])),
      ];
      const row: ToolSourceRow = {
        tenantId,
        kind,
        name,
        version: sha256(canonicalJson(definition)),
        content: definition,
        createdAt: clock.now(),
      };
      await store.putToolSource(row);
      onChanged(tenantId);
      return { ...infoOf(row), ...(warnings.length === 0 ? {} : { warnings }), definition };
    },
    async remove({ tenantId }, kind, name) {
      rulesOf(kind);
      const removed = await store.deleteToolSource(tenantId, kind, name);
      onChanged(tenantId);
      if (!removed) throw new NexusError('not_found', `there is no ${kind} source of tools ${JSON.stringify(name)}`);
    },
  };
}
