import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentDefinition } from '@nexus-agent/protocol';
import { NexusError } from '#core';

/** Every `*.yaml` or `*.yml` of the folder, one agent each. A missing folder holds none. Throws `config_invalid`, naming file and place. */
export async function loadAgentFolder(folder: string): Promise<AgentDefinition[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw new NexusError('config_invalid', `the agents folder ${folder} cannot be read`, { cause: error });
  }
  const files = names.filter((name) => /\.ya?ml$/.test(name)).sort();
  return Promise.all(files.map((name) => loadAgentFile(join(folder, name))));
}

async function loadAgentFile(path: string): Promise<AgentDefinition> {
  const { parse } = await import('yaml');
  let raw: unknown;
  try {
    raw = parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new NexusError(
      'config_invalid',
      `${path} is not valid YAML: ${error instanceof Error ? error.message.split('\n')[0] : 'unreadable'}`,
      { cause: error },
    );
  }
  const result = AgentDefinition.safeParse(raw);
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join('.') || 'the document'}: ${issue.message}`).join('; ');
  throw new NexusError('config_invalid', `${path}: ${issues}`);
}
