import { z } from 'zod';

/** What is administered: each route that changes it, or shows what only administrators may see, asks for one of these. */
export const AdminAction = z.enum([
  'admin.read',
  'admin.agents',
  'admin.budgets',
  'admin.definitions',
  'admin.keys',
  'admin.retention',
  'admin.tools',
]);
export type AdminAction = z.infer<typeof AdminAction>;

/** The parts of the system that are administered: the resources of those actions. */
export const SystemPart = z.enum(['agents', 'budgets', 'definitions', 'keys', 'metrics', 'retention', 'tools']);
export type SystemPart = z.infer<typeof SystemPart>;

/** What a principal may be allowed to do, and is asked each time. Everything is denied unless a policy permits it. */
export const PolicyAction = z.enum([
  'run.start',
  'model.invoke',
  'tool.execute',
  'net.egress',
  'secret.use',
  'file.read',
  'file.write',
  'approval.grant',
  'session.delete',
  ...AdminAction.options,
]);
export type PolicyAction = z.infer<typeof PolicyAction>;

const pattern = z
  .string()
  .min(1)
  .max(200)
  .regex(/^(tool:|model:|net:|secret:)?[A-Za-z0-9_.:/*@[\]-]+$/, {
    error: 'expected a tool name or pattern such as fs_read, fs_*, model:gpt-*, net:example.com or secret:GITHUB_TOKEN',
  });

/**
 * Short form of a policy, on an agent or a session; compiled to Cedar. An entry is a tool pattern (`fs_*`, `tool:fs_*`),
 * a model pattern (`model:gpt-*`), a host pattern (`net:*.example.com`) or a secret (`secret:GITHUB_TOKEN`). `deny` beats `approve` beats
 * `allow`.
 * A session narrows what its agent allows; it never widens it.
 */
export const PolicyShortForm = z
  .strictObject({
    allow: z.array(pattern).max(200).optional(),
    deny: z.array(pattern).max(200).optional(),
    approve: z.array(pattern).max(200).optional(),
  })
  .meta({ id: 'PolicyShortForm' });
export type PolicyShortForm = z.infer<typeof PolicyShortForm>;

export const PolicyObligation = z.discriminatedUnion('type', [
  z.object({ type: z.literal('require_approval'), role: z.string().optional() }),
  z.object({ type: z.literal('cap_tokens'), maxTokens: z.int().positive() }),
]);
export type PolicyObligation = z.infer<typeof PolicyObligation>;

/** A decision as it is recorded: enough to explain it later. `reasons` are ids of the policies that determined it. */
export const DecisionRecord = z
  .object({
    id: z.string(),
    effect: z.enum(['allow', 'deny', 'require_approval']),
    action: PolicyAction,
    principal: z.string(),
    resource: z.string(),
    reasons: z.array(z.string()),
    policyVersion: z.string(),
    obligations: z.array(PolicyObligation).optional(),
    /** Why an evaluation failed; such a decision is always a denial. */
    errors: z.array(z.string()).optional(),
  })
  .meta({ id: 'DecisionRecord' });
export type DecisionRecord = z.infer<typeof DecisionRecord>;
