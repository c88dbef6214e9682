/** The door of policy: decisions on Cedar, default deny. */
export type { DecisionRequest, PolicySource } from '#policy/compile';
export { createPolicyEngine, type PolicyEngine } from '#policy/engine';
