/** The door of MCP servers. */
export { createMcpServers, type McpServersOfNode } from './servers.ts';
