import type { PolicyAction, PolicyShortForm } from '@nexus-agent/protocol';

export type PolicyValue = string | number | boolean | null | readonly PolicyValue[] | { readonly [key: string]: PolicyValue };

/** The tenant of whoever runs the installation: what is defined under its keys, or without one, is the operator's word. */
export const operatorTenant = 'default';

/**
 * Whose word the definition of an agent is. The operator's are those from his folder, the built-in ones and those of his own tenant;
 * what another tenant put is that tenant's, and permits nothing by itself.
 */
export type AgentOrigin = 'operator' | 'tenant';

/** A question to the policy engine. */
export interface DecisionRequest {
  readonly principal: {
    readonly type: 'Agent' | 'User';
    readonly id: string;
    readonly tenant: string;
    /** For a person: the roles that the key or the local operator carries. */
    readonly roles?: readonly string[];
    /** Of an agent: whose word its definition is. Left out: the operator's. One of a tenant is known as `<tenant>/<name>`. */
    readonly origin?: AgentOrigin;
    /** Of an agent: the version of its definition. */
    readonly version?: string;
  };
  readonly action: PolicyAction;
  /** `Tool::"fs_read"`, `Model::"sim/sim-large"`, `Host::"example.com"`, `Agent::"chat"`, `Approval::"apr_…"`. */
  readonly resource: {
    readonly type: 'Tool' | 'Model' | 'Host' | 'Agent' | 'Approval' | 'Session' | 'Secret' | 'System' | 'File';
    readonly id: string;
    readonly attributes?: Readonly<Record<string, PolicyValue>>;
  };
  /** The actual arguments and facts of this call. */
  readonly context: {
    readonly arguments?: unknown;
    readonly estimatedCostMicroUsd?: number;
    readonly budgetLeftMicroUsd?: number;
    readonly step?: number;
    readonly onBehalfOf?: string;
    readonly sessionId?: string;
    /** Of a file, host or secret: the tool that touches it. */
    readonly tool?: string;
    /** What a person answers to an approval. */
    readonly answer?: string;
    /** Set when a person approved exactly these arguments. */
    readonly approved?: { readonly by: string; readonly role?: string };
    /** False when no price is known for the model. */
    readonly priceKnown?: boolean;
  };
  /** Short forms that apply besides the operator's policies: the agent's grants, then what the session narrows. */
  readonly agentPolicy?: PolicyShortForm;
  readonly sessionPolicy?: PolicyShortForm;
}

/** A request that cannot be put to Cedar: some value is not what it is declared to be. */
export class InvalidRequest extends Error {}

export interface PolicySource {
  readonly name: string;
  /** Cedar text. */
  readonly text: string;
}
