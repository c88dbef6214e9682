import type { Agent, AgentDefinition, Page } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';

const path = '/v1/agents';

/** The server fills in what is left out. */
type AgentInput = Pick<AgentDefinition, 'name' | 'models'> & Partial<AgentDefinition>;

export function agents(calls: Calls) {
  return {
    list: (page: PageOptions = {}) => calls.get<Page<Agent>>(path, paging(page), page),
    get: (name: string, version?: string, call?: CallOptions) => calls.get<Agent>(at(path, name), { version }, call),
    delete: (name: string, call?: CallOptions) => calls.act<void>('DELETE', at(path, name), undefined, call),
    put: (definition: AgentInput, call?: CallOptions) => calls.act<Agent>('POST', path, definition, call),
  };
}
