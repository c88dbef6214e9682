import type { BudgetScope, PolicyShortForm, RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import type { AgentOrigin } from '#policy';

/**
 * What a governed call must know of its surroundings: who acts, for whom, who pays, and which policies hold. A run has one
 * for all of its calls; a call outside of a run has one made of its session.
 */
export interface ChargeContext {
  readonly tenantId: TenantId;
  readonly sessionId: SessionId;
  /** Null outside of a run. */
  readonly runId: RunId | null;
  /** Name of the agent that acts: the principal of the policy. */
  readonly agent: string;
  /** Whose word its definition is, and which. */
  readonly origin: AgentOrigin;
  readonly agentVersion: string;
  /** Id of the person or key on whose behalf it acts. */
  readonly onBehalfOf: string;
  readonly agentPolicy: PolicyShortForm | null;
  readonly sessionPolicy: PolicyShortForm | null;
  /** Every scope that pays, coldest first. */
  readonly scopes: readonly BudgetScope[];
  /** Milliseconds since 1970; no call may go on after it. Null: no deadline. */
  readonly deadlineAt: number | null;
}
