/** The door of the sources of tools. */
export { createBuiltinTools } from './builtin/index.ts';
export { createFollowedSources, createSourceHeads } from './followed-sources.ts';
export { createHttpApis, type ToolSecrets } from './http/index.ts';
export { importOpenApi, type OpenApiImport, type OpenApiImportOptions } from './http/openapi/import-openapi.ts';
export {
  createMcpServers,
  createPluginPrograms,
  createSeal,
  type McpServersOfNode,
  type PluginPrograms,
  type Seal,
} from './mcp/index.ts';
export { createProgramStates } from './program-states.ts';
export { createPluginSource } from './wasm/index.ts';
export { createWorkers } from './worker/index.ts';
