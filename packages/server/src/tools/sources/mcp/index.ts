/** The door of MCP servers. */
export { createSeal, type Seal } from './oauth-seal.ts';
export { createMcpServers, type McpServersOfNode } from './servers.ts';
