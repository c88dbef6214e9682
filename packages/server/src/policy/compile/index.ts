/** The door of compile: what policies may say, and policies that were read, checked and made ready to be asked. */
export { cedarRuntime } from './cedar.ts';
export { type CompiledPolicy, type CompiledSources, type CompileOptions, compileSources } from './compile.ts';
export { defaultPolicies } from './defaults.ts';
export { filePath } from './files.ts';
export { hostPattern } from './hosts.ts';
export type { Mentions } from './mentions.ts';
export { noObligations, type StatedObligations, settleObligations } from './obligations.ts';
export { type Reads, unionOfReads } from './reads.ts';
export { agentId, type ResourceFacts, resourceFacts } from './resource.ts';
export { type ArgumentTypes, contextFacts, resourceAttributes, schemaText, type ValueKind } from './schema.ts';
export { type AgentOrigin, type DecisionRequest, InvalidRequest, operatorTenant, type PolicySource } from './types.ts';
