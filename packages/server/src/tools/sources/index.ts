/** The door of the sources of tools. */
export { createBuiltinTools } from './builtin/index.ts';
export { createFollowedSources, createSourceHeads } from './followed-sources.ts';
export { createHttpTools, type ToolSecrets } from './http/index.ts';
export { createWorkers } from './worker/index.ts';
