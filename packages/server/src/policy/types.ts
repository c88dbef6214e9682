import type { DecisionRecord, PolicyAction, PolicyShortForm } from '@nexus-agent/protocol';

export type PolicyValue = string | number | boolean | null | readonly PolicyValue[] | { readonly [key: string]: PolicyValue };

/** A question to the policy engine. */
export interface DecisionRequest {
  readonly principal: {
    readonly type: 'Agent' | 'User';
    readonly id: string;
    readonly tenant: string;
    /** For a person: the roles that the key or the local operator carries. */
    readonly roles?: readonly string[];
  };
  readonly action: PolicyAction;
  /** `Tool::"fs_read"`, `Model::"sim/sim-large"`, `Host::"example.com"`, `Agent::"chat"`, `Approval::"apr_…"`. */
  readonly resource: {
    readonly type: 'Tool' | 'Model' | 'Host' | 'Agent' | 'Approval' | 'Secret' | 'Memory' | 'System';
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
    /** Set when a person approved exactly these arguments. */
    readonly approved?: { readonly by: string; readonly role?: string };
    /** False when no price is known for the model. */
    readonly priceKnown?: boolean;
  };
  /** Short forms that apply besides the operator's policies: the agent's grants, then what the session narrows. */
  readonly agentPolicy?: PolicyShortForm;
  readonly sessionPolicy?: PolicyShortForm;
}

/** The answer, without the record's id (the caller numbers it). */
export type Decision = Omit<DecisionRecord, 'id'>;

export interface PolicySource {
  readonly name: string;
  /** Cedar text. */
  readonly text: string;
}

export interface PolicyEngine {
  /** Hash of all operator policies and the schema; recorded with every decision. */
  readonly version: string;
  /** Never throws: an evaluation error is a denial that says so. */
  decide(request: DecisionRequest): Decision;
  /** Validates against the schema, then swaps atomically. Throws `invalid_request` naming the policy and the place. */
  replace(sources: readonly PolicySource[]): void;
  /** Compiles a short form, for checking it when it is stored. Throws `invalid_request`. */
  check(form: PolicyShortForm): void;
}
