import type { AgentDefinition, TenantId } from '@nexus-agent/protocol';
import {
  type AgentCatalog,
  type DefinitionsOrigin,
  notesOnAgent,
  notesOnGrants,
  notesOnMentions,
  notesOnModels,
  notesOnPolicies,
} from '#control';
import { NexusError } from '#core';
import type { ModelService } from '#llm';
import { operatorTenant, type PolicyEngine } from '#policy';
import type { DefinitionFile } from '#storage';
import type { Logger } from '#telemetry';
import type { ToolDescriptor, ToolService } from '#tools';
import { parseAgents } from './agent-folder.ts';
import type { FollowedAgentServers } from './agent-servers.ts';
import { defaultAgentName } from './built-in-agent.ts';

interface ModelsOfAll {
  readonly llm: ModelService;
  readonly defaultModels: readonly string[];
}

interface AgentParts {
  readonly catalog: Pick<AgentCatalog, 'prepareShared'>;
  readonly tools: Pick<ToolService, 'list'>;
  readonly llm: ModelService;
  readonly agentServers: Pick<FollowedAgentServers, 'follow'>;
  readonly policy: Pick<PolicyEngine, 'allowsNothing'>;
}

interface PolicyParts {
  readonly policy: Pick<PolicyEngine, 'prepare'>;
  readonly tools: Pick<ToolService, 'list'>;
  readonly isTenant: (name: string) => Promise<boolean>;
}

/** Says which models serve those who do not choose. The lists of servers are waited for, and nobody waits for this. */
export async function tellModels({ llm, defaultModels }: ModelsOfAll, logger: Logger): Promise<void> {
  try {
    const targets = await llm.resolve(defaultModels);
    const models = targets.map(
      ({ provider, model, price }) => `${provider}/${model}${price === null ? ' (no known price: state one under `prices`)' : ''}`,
    );
    logger.info({ models }, 'models for those who do not choose');
  } catch (error) {
    logger.warn({ err: error }, 'there is no model for those who do not choose');
  }
}

/** What the folder of agents says, to be used when all of it is right. */
export async function prepareAgents(
  { catalog, tools, llm, agentServers, policy }: AgentParts,
  files: readonly DefinitionFile[],
  about: DefinitionsOrigin,
  logger: Logger,
): Promise<{ use(): void }> {
  const agents = await parseAgents(files, about.place);
  const prepared = catalog.prepareShared(agents, about);
  await tellNotes(agents, { tools, policy }, logger);
  void tellModelNotes(agents, llm, logger); // waits for the lists of servers, for which nothing else waits
  return {
    use() {
      prepared.use();
      agentServers.follow(agents);
    },
  };
}

/** The same of policies. Another node, or a later start, may have more tools: a name that none has here is told and stands. */
export async function preparePolicies(
  { policy, tools, isTenant }: PolicyParts,
  files: readonly DefinitionFile[],
  about: DefinitionsOrigin,
  logger: Logger,
): Promise<{ use(): void }> {
  const prepared = policy.prepare(files, about);
  const known = await listed(tools, operatorTenant, logger);
  if (known === null) return prepared;
  const notes = [
    ...notesOnPolicies(prepared.toolsNamed(), { tools: known.map(({ name }) => name) }),
    ...(await notesOnMentions(prepared.mentions(), { tools: known, isTenant })),
  ];
  if (notes.length > 0) logger.warn({ notes }, 'a policy names what there is not');
  return prepared;
}

/** Says what agents of files name that there is not: a misspelt tool is missed only by the first run that needs it. */
async function tellNotes(
  agents: readonly AgentDefinition[],
  { tools, policy }: Pick<AgentParts, 'tools' | 'policy'>,
  logger: Logger,
): Promise<void> {
  const offered = await listed(tools, 'default', logger);
  if (offered === null) return;
  const known = {
    tools: offered.map(({ name }) => name),
    agents: [defaultAgentName, ...agents.map(({ name }) => name)],
  };
  for (const definition of agents) {
    const notes = notesOnAgent(definition, known);
    if (notes.length > 0) logger.warn({ agent: definition.name, notes }, 'an agent names what there is not');
    const { name } = definition;
    const vain = notesOnGrants({ name, tenantId: operatorTenant as TenantId, version: '', source: 'file', definition }, offered, policy);
    if (vain.length > 0) logger.warn({ agent: name, notes: vain }, 'an agent is offered what it is never permitted');
  }
}

/** The same of models. A server that says nothing is told elsewhere. */
async function tellModelNotes(agents: readonly AgentDefinition[], llm: ModelService, logger: Logger): Promise<void> {
  for (const definition of agents) {
    const notes = await notesOnModels(definition, llm).catch(() => []);
    if (notes.length > 0) logger.warn({ agent: definition.name, notes }, 'an agent names what there is not');
  }
}

/** Names are only checked to be told: tools that cannot be listed at the moment keep no definition from being used. */
async function listed(tools: Pick<ToolService, 'list'>, tenantId: string, logger: Logger): Promise<readonly ToolDescriptor[] | null> {
  return tools.list(tenantId).catch((error: unknown) => {
    if (!(error instanceof NexusError) || error.code !== 'unavailable') throw error;
    logger.warn({ err: error }, 'the tools cannot be listed at the moment, and what definitions name of them was not looked at');
    return null;
  });
}
