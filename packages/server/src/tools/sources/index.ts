/** The door of the sources of tools. */
export { createBuiltinTools } from './builtin/index.ts';
export { createSourceHeads } from './followed-sources.ts';
export { createWorkers } from './worker/index.ts';
export { createPluginSource, type PluginSource } from './wasm/index.ts';
