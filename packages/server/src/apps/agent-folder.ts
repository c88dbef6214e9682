import { AgentDefinition } from '@nexus-agent/protocol';
import type { NexusConfig } from '#apps/config';
import { NexusError } from '#core';
import { type DefinitionFiles, readDefinitionFolder, type UnreadEntry } from './definition-folder.ts';

export interface AgentFolder {
  readonly definitions: readonly AgentDefinition[];
  readonly unread: readonly UnreadEntry[];
}

const maxAgentFileBytes = 1_000_000;

/**
 * Every `*.yaml` or `*.yml` of the agents folder, one agent each, and what else lies there. Only the folder's default place may
 * be missing. Throws `config_invalid`, naming file and place.
 */
export async function loadAgentFolder({ agentsDir, dataDir }: Pick<NexusConfig, 'agentsDir' | 'dataDir'>): Promise<AgentFolder> {
  const { files, unread } = await readDefinitionFolder(agentsDir, {
    setting: 'agentsDir (NEXUS_AGENTS_DIR)',
    mayBeMissing: agentsDir === `${dataDir}/agents`,
    extensions: ['.yaml', '.yml'],
    maxBytes: maxAgentFileBytes,
  });
  const pathOf = new Map<string, string>();
  const definitions: AgentDefinition[] = [];
  for (const file of files) {
    const definition = await parseAgentFile(file);
    const other = pathOf.get(definition.name);
    if (other !== undefined) {
      throw new NexusError('config_invalid', `${file.path} and ${other} both define the agent "${definition.name}"; rename one of them`);
    }
    pathOf.set(definition.name, file.path);
    definitions.push(definition);
  }
  return { definitions, unread };
}

async function parseAgentFile({ path, text }: DefinitionFiles['files'][number]): Promise<AgentDefinition> {
  const { parse } = await import('yaml');
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0] : 'unreadable';
    throw new NexusError('config_invalid', `${path} is not valid YAML: ${why}`, { cause: error });
  }
  const result = AgentDefinition.safeParse(raw);
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join('.') || 'the document'}: ${issue.message}`).join('; ');
  throw new NexusError('config_invalid', `${path}: ${issues}`);
}
