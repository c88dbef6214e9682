/** The door of MCP servers. */
export { createSeal, type Seal } from './oauth-seal.ts';
export { createPluginPrograms, type PluginPrograms, type PluginProgramsOptions } from './plugin-programs.ts';
export { createMcpServers, type McpServersOfNode } from './servers.ts';
