import { type AgentDefinition, AgentDefinition as AgentDefinitionSchema, type PolicyShortForm, type TenantId } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import {
  type Clock,
  canonicalJson,
  closest,
  createCountedCache,
  derivedId,
  explainFaults,
  findSchemaFaults,
  NexusError,
  parseRequest,
} from '#core';
import type { PolicyEngine } from '#policy';
import type { AgentSource } from '#runs';
import type { AgentStore, AgentVersionRow, PageOf, PageRequest } from '#storage';

/** Definitions kept in memory, counted by the characters of their JSON. */
const maxCacheChars = 16_000_000;
/** How many versions are remembered as stored; a forgotten one is written again, which changes nothing. */
const maxKnownStored = 10_000;
/** Agents among which a misspelt name is looked for, and of which one that is like none is told. */
const maxNamed = 1_000;
const maxListed = 20;

export interface AgentCatalog extends AgentSource {
  /** Stores a definition and makes it the current one of its name. Throws for a policy that does not compile and an output schema that is not taken. */
  put(tenantId: TenantId, definition: AgentDefinition): Promise<AgentVersionRow>;
  /** Throws what {@link put} would, but for what the store says. */
  check(definition: AgentDefinition): AgentDefinition;
  list(tenantId: TenantId, page: PageRequest): Promise<PageOf<AgentVersionRow>>;
  /** The first names of them, with which a misspelt one is compared. */
  names(tenantId: TenantId): Promise<readonly string[]>;
  /** Deletes one that was stored; a shared one of its name is there again. Throws `not_found`, and `conflict` while a run of it lives. */
  remove(tenantId: TenantId, name: string): Promise<void>;
  /**
   * Checks agents that every tenant has; throws for a policy that does not compile, unless they are in force already (and it denies). What comes back puts them in the place of the
   * current ones, at once. A run keeps the version that it began with, also of an agent that is gone.
   */
  prepareShared(agents: readonly AgentDefinition[], options?: { readonly inForce?: boolean }): { use(): void };
}

export interface AgentCatalogOptions {
  readonly store: AgentStore;
  readonly clock: Clock;
  readonly policy: PolicyEngine;
  /** Agents that every tenant has besides those from files, which come by `prepareShared` and may hide these. */
  readonly builtIn: readonly AgentDefinition[];
}

interface SharedAgent {
  readonly definition: AgentDefinition;
  readonly source: 'file' | 'built-in';
  readonly version: string;
}

/** The version of a definition: an id that depends only on its content. */
function agentVersion(definition: AgentDefinition): string {
  return derivedId<string>('agentVersion', canonicalJson(definition));
}

/**
 * Agents by name. Those from files and the built-in ones serve every tenant; one put by API belongs to its tenant and
 * hides a shared one of the same name. Versions are immutable and kept in memory once read.
 */
export function createAgentCatalog(options: AgentCatalogOptions): AgentCatalog {
  const { store, clock, policy } = options;
  const builtIn = options.builtIn.map((definition) => sharedAgent(definition, 'built-in'));
  /** Replaced as a whole. */
  let shared: ReadonlyMap<string, SharedAgent> = new Map(builtIn);
  const versions = new LRUCache<string, AgentVersionRow>({
    maxSize: maxCacheChars,
    sizeCalculation: ({ definition }) => JSON.stringify(definition).length,
  });
  const since = clock.now();
  const stored = createCountedCache<string, true>(maxKnownStored);

  function remember(row: AgentVersionRow): AgentVersionRow {
    versions.set(`${row.tenantId}/${row.name}/${row.version}`, row);
    return row;
  }

  /** A shared agent becomes a stored version of the tenant when it is first used, so that runs can be read after the file changed. */
  async function adopt(tenantId: TenantId, found: SharedAgent): Promise<AgentVersionRow> {
    const { name } = found.definition;
    const row: AgentVersionRow = {
      tenantId,
      name,
      version: found.version,
      source: found.source,
      definition: found.definition,
      createdAt: clock.now(),
    };
    const key = `${tenantId}/${name}/${found.version}`;
    if (!stored.has(key)) {
      await store.putAgent(row);
      stored.set(key, true);
    }
    return remember(row);
  }

  /** The tenant's agents as they stand; reading changes nothing: what is shared is stored when it is used. */
  function list(tenantId: TenantId, page: PageRequest): Promise<PageOf<AgentVersionRow>> {
    const rows = [...shared].map(([name, agent]) => ({ ...agent, tenantId, name, createdAt: since }));
    return store.listAgents(tenantId, page, rows);
  }

  async function names(tenantId: TenantId): Promise<readonly string[]> {
    const own = await store.listAgentNames(tenantId, maxNamed);
    return [...new Set([...shared.keys(), ...own])].sort().slice(0, maxNamed);
  }

  async function unknownAgent(tenantId: TenantId, name: string, version: string | undefined): Promise<NexusError> {
    const known = await names(tenantId);
    const near = known.includes(name) ? null : closest(name, known);
    const help = near === null ? `known are ${known.slice(0, maxListed).join(', ') || 'none'}` : `did you mean "${near}"?`;
    return new NexusError('not_found', `there is no agent "${name}"${version === undefined ? '' : ` of version ${version}`}; ${help}`);
  }

  function check(definition: AgentDefinition): AgentDefinition {
    const parsed = parseRequest(AgentDefinitionSchema, definition, 'agent');
    checkOutputSchema(parsed, 'invalid_request');
    if (parsed.policy !== undefined) policy.check(parsed.policy);
    return parsed;
  }

  return {
    async get(tenantId, name, version) {
      const known = version === undefined ? undefined : versions.get(`${tenantId}/${name}/${version}`);
      if (known !== undefined) return known;
      const own = await store.getAgent(tenantId, name, version);
      if (own !== null && (version !== undefined || own.source === 'api')) return remember(own);
      // Looked up once: the agents may be replaced while this waits.
      const common = shared.get(name);
      const row = common !== undefined && (version === undefined || common.version === version) ? await adopt(tenantId, common) : null;
      if (row === null) {
        throw await unknownAgent(tenantId, name, version);
      }
      return row;
    },
    check,
    async put(tenantId, definition) {
      const parsed = check(definition);
      const row: AgentVersionRow = {
        tenantId,
        name: parsed.name,
        version: agentVersion(parsed),
        source: 'api',
        definition: parsed,
        createdAt: clock.now(),
      };
      await store.putAgent(row);
      return remember(row);
    },
    async remove(tenantId, name) {
      const outcome = await store.deleteAgent(tenantId, name);
      if (outcome === 'in_use') throw new NexusError('conflict', `a run of agent "${name}" has not ended; cancel it, or wait`);
      if (outcome === 'not_found') {
        const why = shared.has(name) ? 'comes from a file or is built in, and cannot be deleted here' : 'does not exist';
        throw new NexusError(shared.has(name) ? 'conflict' : 'not_found', `agent "${name}" ${why}`);
      }
      for (const key of versions.keys()) if (key.startsWith(`${tenantId}/${name}/`)) versions.delete(key);
    },
    list,
    names,
    prepareShared(agents, { inForce = false } = {}) {
      for (const definition of inForce ? [] : agents) {
        checkOutputSchema(definition, 'config_invalid');
        if (definition.policy !== undefined) checkForm(policy, definition.name, definition.policy);
      }
      const next = new Map([...builtIn, ...agents.map((definition) => sharedAgent(definition, 'file'))]);
      return {
        use() {
          shared = next;
        },
      };
    },
  };
}

function sharedAgent(definition: AgentDefinition, source: SharedAgent['source']): [string, SharedAgent] {
  return [definition.name, { definition, source, version: agentVersion(definition) }];
}

/** One that was stored when more was taken stays: its runs fail and say why. */
function checkOutputSchema({ name, outputSchema }: AgentDefinition, code: 'invalid_request' | 'config_invalid'): void {
  const faults = outputSchema === undefined ? [] : findSchemaFaults(outputSchema);
  if (faults.length === 0) return;
  const issues = faults.map(({ path, message }) => ({ path: path === '' ? 'outputSchema' : `outputSchema.${path}`, message }));
  throw new NexusError(code, `agent ${name}: ${explainFaults(faults, 'outputSchema')}`, { details: { issues } });
}

function checkForm(policy: PolicyEngine, agent: string, form: PolicyShortForm): void {
  try {
    policy.check(form);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new NexusError('config_invalid', `the policy of agent ${agent}: ${why}`, { cause: error });
  }
}
