/** The door of the sources of tools. */
export { createBuiltinTools } from './builtin/index.ts';
export { createSourceHeads } from './followed-sources.ts';
export { createMcpServers, type McpServersOfNode } from './mcp/index.ts';
export { createWorkers } from './worker/index.ts';
