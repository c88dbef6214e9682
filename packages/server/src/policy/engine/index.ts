/** The door of engine: questions and their answers. */
export { createPolicyEngine } from './engine.ts';
export type { PolicyEngine } from './types.ts';
