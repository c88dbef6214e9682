/** The door of policy: decisions on Cedar, default deny. */
export { type DecisionRequest, loadPolicyFolder, type PolicySource } from '#policy/compile';
export { createPolicyEngine, type PolicyEngine } from '#policy/engine';
