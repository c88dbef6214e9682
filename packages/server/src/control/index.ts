/** The door of control. */
export { type AgentCatalog, createAgentCatalog } from './agents.ts';
export { usageByDay } from './usage.ts';
