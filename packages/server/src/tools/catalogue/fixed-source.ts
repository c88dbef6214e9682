import { NexusError } from '#core';
import type { Tool, ToolSource } from '#tools/contract';

const validName = /^[A-Za-z0-9_.-]{1,64}$/;

/** The same tools for every tenant. Throws `config_invalid` for a name that is malformed or used twice. */
export function createFixedSource(tools: readonly Tool[]): ToolSource {
  requireNames(tools);
  return { tools: async () => tools };
}

export function requireNames(tools: readonly Tool[]): void {
  const names = new Set<string>();
  for (const { name } of tools) {
    if (!validName.test(name)) {
      throw new NexusError('config_invalid', `"${name}" is no tool name: use 1 to 64 of the characters A-Z a-z 0-9 _ . -`);
    }
    if (names.has(name)) throw new NexusError('config_invalid', `two tools are named ${name}; rename one`);
    names.add(name);
  }
}
