import type { ApprovalDecision, ApprovalKind, RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import type { DecisionRow } from './audit.ts';
import type { PageOf, PageRequest } from './pages.ts';

export interface ApprovalRow {
  readonly tenantId: TenantId;
  readonly approvalId: string;
  readonly runId: RunId;
  readonly sessionId: SessionId;
  readonly callId: string;
  /** `client_result`: whoever started the run is to post what a call gave. That is not for people: no list has it. */
  readonly kind: ApprovalKind | 'client_result';
  readonly status: 'pending' | 'decided' | 'expired' | 'cancelled';
  readonly toolName: string;
  readonly input: unknown;
  readonly question: string | null;
  readonly role: string | null;
  readonly defaultDecision: ApprovalDecision;
  readonly deadlineAt: number;
  readonly decision: ApprovalDecision | null;
  readonly answer: {
    readonly arguments?: unknown;
    readonly result?: string;
    readonly note?: string;
    /** Of what a client gave: what is kept of it beside the result, as the tools know it. */
    readonly artifact?: unknown;
  } | null;
  readonly decidedBy: string | null;
  readonly decidedAt: number | null;
  readonly createdAt: number;
}

export interface GivenAnswer {
  readonly decision: ApprovalDecision;
  readonly answer: ApprovalRow['answer'];
  readonly decidedBy: string;
  readonly at: number;
  /** That this person may answer. */
  readonly permit?: DecisionRow;
}

export type ApprovalAnswerResult =
  | { readonly type: 'decided'; readonly approval: ApprovalRow }
  | { readonly type: 'not_found' }
  | { readonly type: 'already'; readonly approval: ApprovalRow };

/** What people are asked. Commits ask and withdraw; people answer. */
export interface ApprovalStore {
  getApproval(tenantId: TenantId, approvalId: string): Promise<ApprovalRow | null>;
  /** Newest first; without those of the kind `client_result`. */
  listApprovals(
    tenantId: TenantId,
    filter: { status?: ApprovalRow['status']; runId?: RunId },
    page: PageRequest,
  ): Promise<PageOf<ApprovalRow>>;
  /**
   * Stores the answer of a pending approval, with the policy decision that permits it, and makes its run due. Once only: a second
   * answer gets `already`, and nothing of it is kept.
   */
  answerApproval(tenantId: TenantId, approvalId: string, answer: GivenAnswer): Promise<ApprovalAnswerResult>;
}
