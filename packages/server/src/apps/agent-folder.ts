import type { AgentDefinition } from '@nexus-agent/protocol';
import type { NexusConfig } from '#apps/config';
import { type DefinitionFolder, parseAgentFile } from '#control';
import { NexusError } from '#core';
import type { DefinitionFile } from '#storage';
import { createDefinitionFolder } from './definition-folder.ts';

/** Every `*.yaml` or `*.yml` of the agents folder, one agent each. Only the folder's default place may be missing. */
export function agentFolder({ agentsDir, dataDir }: Pick<NexusConfig, 'agentsDir' | 'dataDir'>): DefinitionFolder {
  return createDefinitionFolder(agentsDir, {
    setting: 'agentsDir (NEXUS_AGENTS_DIR)',
    mayBeMissing: agentsDir === `${dataDir}/agents`,
    extensions: ['.yaml', '.yml'],
    maxBytes: 1_000_000,
    complete: false,
  });
}

/** The agents of files that lie in `place`. Throws `config_invalid`, naming file and place. */
export async function parseAgents(files: readonly DefinitionFile[], place: string): Promise<AgentDefinition[]> {
  const pathOf = new Map<string, string>();
  const definitions: AgentDefinition[] = [];
  for (const { name, text } of files) {
    const path = `${place}/${name}`;
    const definition = await parseAgentFile(path, text);
    const other = pathOf.get(definition.name);
    if (other !== undefined) {
      throw new NexusError('config_invalid', `${path} and ${other} both define the agent "${definition.name}"; rename one of them`);
    }
    pathOf.set(definition.name, path);
    definitions.push(definition);
  }
  return definitions;
}
