import { AgentDefinition, type TenantId } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { AgentSource } from '#runs';

const common = { models: ['sim/m'], tools: ['*'], timeoutMs: 30_000 };
const definitions = [
  AgentDefinition.parse({ ...common, name: 'helper', subagents: ['second'], policy: { allow: ['*', 'model:*'] }, maxSteps: 12 }),
  AgentDefinition.parse({ ...common, name: 'second', policy: { allow: ['*', 'model:*'] }, maxSteps: 6 }),
  AgentDefinition.parse({
    ...common,
    name: 'careful',
    policy: { allow: ['look', 'put', 'note', 'model:*'], approve: ['pay'] },
    maxSteps: 12,
  }),
];

/** The agents of a simulation, which are the same on all nodes. */
export function createScriptedAgents(): AgentSource {
  return {
    async get(tenantId: TenantId, name) {
      const definition = definitions.find((each) => each.name === name);
      if (definition === undefined) throw new NexusError('not_found', `there is no agent ${name}`);
      return { tenantId, name, version: `agv_${name}`, source: 'api', definition, createdAt: 0 };
    },
  };
}
