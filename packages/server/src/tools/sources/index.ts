/** The door of the sources of tools. */
export { createBuiltinTools, createProgramStates } from './builtin/index.ts';
export { createSourceHeads } from './followed-sources.ts';
export { createPluginSource } from './wasm/index.ts';
export { createMcpServers, type McpServersOfNode } from './mcp/index.ts';
export { createWorkers } from './worker/index.ts';
