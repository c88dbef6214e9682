import { type AgentMcpServer, type McpServer, reservedName, type TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';
import { type DeclaredServer, isAsDeclared } from '#tools/contract';
import type { KeptServer, McpContent } from './content.ts';
import type { Reach } from './reach.ts';
import type { Register } from './register.ts';
import type { ServerOfTenant } from './source.ts';

interface DeclaredParts {
  readonly register: Register;
  readonly reach: Pick<Reach, 'check'>;
  readonly clock: Pick<Clock, 'now'>;
}

/** Adds servers that agents declare, in the place of none. */
export interface DeclaredAdditions {
  /** Throws all that keeps one from being added, but what happens meanwhile. */
  requirePossible(tenantId: TenantId, server: DeclaredServer, agent: string): Promise<void>;
  /** The one that is there as it is declared, or a new one. Throws `conflict`. */
  add(tenantId: TenantId, server: DeclaredServer, agent: string): Promise<KeptServer>;
}

export function createDeclaredAdditions({ register, reach, clock }: DeclaredParts): DeclaredAdditions {
  return {
    async requirePossible(tenantId, server, agent) {
      const { name, definition, place } = server;
      try {
        requireFreeName(name);
        reach.check(tenantId, definition);
      } catch (error) {
        if (!(error instanceof NexusError)) throw error;
        throw new NexusError(error.code, `${place}: ${error.message}`, { cause: error });
      }
      const before = await register.find(tenantId, name);
      if (before !== null) requireSame(server, before, agent);
    },
    async add(tenantId, server, agent) {
      const { name, definition } = server;
      const kept = await register.change(tenantId, name, (before) => {
        if (before === null) return { createdAt: clock.now(), content: { ...neverSeen, definition, addedWith: agent } };
        requireSame(server, before, agent);
        return null;
      });
      if (kept === null) throw new NexusError('internal', 'a server that was added is not there');
      return kept;
    },
  };
}

/** Of a server that was never reached. */
export const neverSeen: Omit<McpContent, 'definition' | 'addedWith'> = {
  ...{ pins: null, pending: [], offers: { resources: false, prompts: false } },
};

/** Throws `invalid_request` for a name that our own tools have. */
export function requireFreeName(name: string): void {
  const reserved = reservedName(`${name}_`); // as its tools begin
  if (reserved !== null) throw new NexusError('invalid_request', `${name}: ${reserved} for the MCP server`);
}

function requireSame(server: DeclaredServer, kept: KeptServer, agent: string): void {
  if (isAsDeclared(server, kept.definition)) return;
  const origin = kept.addedWith === undefined ? 'added by itself' : `added with agent ${kept.addedWith}`;
  throw new NexusError(
    'conflict',
    `${server.place} of agent ${agent} is not the MCP server ${kept.name} that there is (${origin}): give it another name, put it in the place of that one (nexus mcp import FILE), or remove that one (nexus mcp remove ${kept.name})`,
  );
}

/** What a declared server is to the tenant. */
export function standingOf(declared: DeclaredServer, found: ServerOfTenant | undefined): AgentMcpServer {
  const { name, isDisabled } = declared;
  if (isDisabled || found === undefined) return { name, state: isDisabled ? 'disabled' : 'absent', tools: 0 };
  if (!isAsDeclared(declared, found.kept.definition)) return { name, state: 'differs', tools: 0 };
  return { name, state: stateOfServer(found.kept), tools: found.tools.length };
}

export function stateOfServer({ pins, pending }: Pick<KeptServer, 'pins' | 'pending'>): McpServer['state'] {
  return pins === null ? 'unapproved' : pending.length > 0 ? 'changed' : 'ready';
}
