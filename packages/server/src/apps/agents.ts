import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentDefinition } from '@nexus-agent/protocol';
import { NexusError } from '#core';

export const defaultAgentName = 'chat';

export const greeting = 'Hello! Say in two sentences who you are and which tools you have.';

/** The agent that serves when none is named. It reads freely within its session's folder; what reaches out of it is put to a person, with its exact address. */
export function builtInAgent(models: readonly string[]): AgentDefinition {
  return AgentDefinition.parse({
    name: defaultAgentName,
    description: 'General assistant with the files of its session, a calculator in a sandbox, and a person to ask.',
    instructions: [
      'You are a careful assistant. Work with the files of this session by the fs_* tools and compute with code_js instead of guessing.',
      'Call tools in parallel when they do not depend on one another. When a tool gives an error, read it and correct the call.',
      'Say plainly what you did and where each number comes from.',
    ].join('\n'),
    models: [...models],
    tools: ['fs_*', 'code_js', 'http_fetch', 'ask_human'],
    policy: { allow: ['fs_*', 'code_js', 'ask_human', 'net:*'], approve: ['http_fetch'] },
  });
}

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
