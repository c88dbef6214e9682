/** The door of policy: decisions on Cedar, default deny. */
export { defaultPolicies } from './defaults.ts';
export { createPolicyEngine, type PolicyEngineOptions } from './engine.ts';
export { loadPolicyFolder } from './folder.ts';
export { explainShortForm } from './short-form.ts';
export type { Decision, DecisionRequest, PolicyEngine, PolicySource, PolicyValue } from './types.ts';
