/** The door of policy: decisions on Cedar, default deny. */
export { type AgentOrigin, type DecisionRequest, filePath, type Mentions, operatorTenant, type PolicySource } from '#policy/compile';
export { createPolicyEngine, type PolicyEngine } from '#policy/engine';
