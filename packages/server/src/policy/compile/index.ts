/** The door of compile: what policies may say, and policies that were read, checked and made ready to be asked. */
export { cedarRuntime, warmCedar } from './cedar.ts';
export { bareOf, type CompiledPolicy, type CompiledSources, type CompileOptions, compileSources, parseSource } from './compile.ts';
export { defaultPolicies } from './defaults.ts';
export { filePath } from './files.ts';
export { hostPattern } from './hosts.ts';
export type { Mentions } from './mentions.ts';
export { noObligations, type StatedObligations, settleObligations } from './obligations.ts';
export { type Reads, unionOfReads } from './reads.ts';
export { agentId, type ResourceFacts, resourceFacts } from './resource.ts';
export { type ArgumentTypes, appliesTo, contextFacts, resourceAttributes, schemaText, type ValueKind } from './schema.ts';
export { type QuestionValues, testOf } from './tests.ts';
export { type AgentOrigin, type DecisionRequest, InvalidRequest, operatorTenant, type PolicySource } from './types.ts';
