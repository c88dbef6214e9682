/** The door of the sources of tools. */
export { createBuiltinTools, createProgramStates } from './builtin/index.ts';
export { createFollowedSources, createSourceHeads } from './followed-sources.ts';
export { createHttpApis, type ToolSecrets } from './http/index.ts';
export { importOpenApi, type OpenApiImport, type OpenApiImportOptions } from './http/openapi/import-openapi.ts';
export { createMcpServers, createSeal, type McpServersOfNode, type Seal } from './mcp/index.ts';
export { createPluginSource } from './wasm/index.ts';
export { createWorkers } from './worker/index.ts';
