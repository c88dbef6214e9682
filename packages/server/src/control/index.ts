/** The door of control: what is administered. */
export { type Administration, createAdministration } from './administration.ts';
export { type AgentCatalog, createAgentCatalog } from './agent-catalog.ts';
export { parseAgentFile } from './agent-file.ts';
export { notesOnAgent, notesOnMentions, notesOnModels, notesOnPolicies } from './agent-notes.ts';
export { type Agents, createAgents } from './agents.ts';
export { type Approvals, createApprovals } from './approvals.ts';
export { type Artifacts, createArtifacts } from './artifacts.ts';
export { type Budgets, createBudgets } from './budgets.ts';
export { type Definitions, openDefinitions } from './definitions.ts';
export { createFiles, type Files } from './files.ts';
export { type DefinitionFolder, type DefinitionsOrigin, definitionsFingerprint, type UnreadEntry } from './followed-definitions.ts';
export { createModels, type Models } from './models.ts';
export { createNodes } from './nodes.ts';
export { createPlugins, type Plugins } from './plugins.ts';
export { createRetention, type Retention } from './retention.ts';
export { createToolSources, type ToolSourceRules, type ToolSources } from './tool-sources.ts';
export { createToolWorkers, type ToolWorkers } from './tool-workers.ts';
export { createTools, type Tools } from './tools.ts';
