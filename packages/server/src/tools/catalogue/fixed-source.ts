import type { Tool, ToolSource } from '#tools/contract';
import { checkTools, trustTools } from './check-tools.ts';

/** The same tools for every tenant: those that are built in, then those that are given. Throws `config_invalid` that says all that is wrong. */
export function createFixedSource(given: readonly Tool[], builtIn: readonly Tool[] = []): ToolSource {
  trustTools(builtIn);
  checkTools(given, builtIn);
  const tools = [...builtIn, ...given];
  return { tools: async () => tools };
}
