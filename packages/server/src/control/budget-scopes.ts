import type { BudgetScope, RunId, SessionId } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { Principal } from '#identity';
import type { AgentSource } from '#runs';
import type { RunStore } from '#storage';

export interface KnownScopes {
  readonly store: Pick<RunStore, 'getRun' | 'getSession'>;
  readonly agents: AgentSource;
}

/** Refuses a limit of what is not there: it would hold nothing, and nobody would notice. Users and projects are names that come with requests. */
export async function requireKnownScope({ store, agents }: KnownScopes, { tenantId }: Principal, { kind, id }: BudgetScope): Promise<void> {
  switch (kind) {
    case 'tenant':
      if (id !== tenantId) throw new NexusError('not_found', `there is no tenant ${id}; you administer tenant:${tenantId}`);
      break;
    case 'agent':
      await agents.get(tenantId, id);
      break;
    case 'session':
      if ((await store.getSession(tenantId, id as SessionId)) === null) throw new NexusError('not_found', `there is no session ${id}`); // an unknown id is simply not found
      break;
    case 'run':
      if ((await store.getRun(tenantId, id as RunId)) === null) throw new NexusError('not_found', `there is no run ${id}`); // an unknown id is simply not found
      break;
    case 'user':
    case 'project':
      break;
  }
}
