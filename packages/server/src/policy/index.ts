/** The door of policy: decisions on Cedar, default deny. */
export { defaultPolicies } from './defaults.ts';
export { createPolicyEngine } from './engine.ts';
export { loadPolicyFolder } from './folder.ts';
export { explainShortForm } from './short-form.ts';
export type { DecisionRequest, PolicyEngine, PolicySource } from './types.ts';
