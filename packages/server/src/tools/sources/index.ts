/** The door of the sources of tools. */
export { createBuiltinTools } from './builtin/index.ts';
