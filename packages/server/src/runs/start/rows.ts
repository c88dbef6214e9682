import {
  type BudgetLimits,
  budgetUnits,
  type ChatRequest,
  type RunId,
  type SessionCreateRequest,
  type SessionId,
  type UserPart,
} from '@nexus-agent/protocol';
import { limitOperations } from '#budget';
import { isBlank, NexusError } from '#core';
import type { Principal } from '#identity';
import type { LedgerOperation } from '#ledger';
import { emptyTotals } from '#runs/journal';
import type { Engine } from '#runs/steps';
import type { AgentVersionRow, RunRow, SessionRow } from '#storage';

/** A new session of an agent. Throws `policy_invalid` for a policy that does not compile. */
export function newSession(engine: Engine, principal: Principal, agent: AgentVersionRow, request: SessionCreateRequest): SessionRow {
  if (request.policy !== undefined) engine.policy.check(request.policy);
  return {
    tenantId: principal.tenantId,
    sessionId: engine.ids.next<SessionId>('session'),
    status: 'active',
    agent: agent.name,
    agentVersion: agent.version,
    policy: request.policy ?? null,
    user: request.user ?? null,
    project: request.project ?? null,
    metadata: request.metadata ?? null,
    createdAt: engine.clock.now(),
  };
}

/** What is written for a new session besides its row: the rows of its budget, limited or only counted. */
export function sessionLimits(sessionId: SessionId, budget: BudgetLimits | undefined): readonly LedgerOperation[] {
  return limitOperations({ kind: 'session', id: sessionId }, budget ?? {}, { fresh: true });
}

export interface NewRun {
  readonly model?: string | undefined;
  readonly budget?: BudgetLimits | undefined;
  readonly parentRunId?: RunId;
  /** For whom it works, if not for those of the session. */
  readonly user?: string | null | undefined;
  readonly project?: string | null | undefined;
  readonly traceId: string | null;
}

/** A new run in the queue, due at once. */
export function newRun(engine: Engine, session: SessionRow, agent: AgentVersionRow, runId: RunId, given: NewRun): RunRow {
  const now = engine.clock.now();
  return {
    tenantId: session.tenantId,
    runId,
    sessionId: session.sessionId,
    agent: agent.name,
    agentVersion: agent.version,
    model: given.model ?? null,
    parentRunId: given.parentRunId ?? null,
    status: 'queued',
    waiting: null,
    step: 0,
    lastSeq: 0,
    totals: emptyTotals,
    output: null,
    error: null,
    resumable: false,
    epoch: 0,
    leaseOwner: null,
    dueAt: now,
    cancelRequested: null,
    budget: given.budget ?? null,
    traceId: given.traceId,
    user: given.user ?? session.user,
    project: given.project ?? session.project,
    createdAt: now,
    updatedAt: now,
  };
}

/** A new run's own limits: of each unit the least that is given. */
export function runLimits(runId: RunId, ...limits: readonly (BudgetLimits | undefined)[]): readonly LedgerOperation[] {
  const least: BudgetLimits = {};
  for (const unit of budgetUnits) {
    const values = limits.flatMap((entry) => (entry?.[unit] === undefined ? [] : [entry[unit]]));
    if (values.length > 0) least[unit] = Math.min(...values);
  }
  return limitOperations({ kind: 'run', id: runId }, least, { unlimited: 'ignore', fresh: true });
}

/** For whom a run works, as far as anybody was named. */
export function payersOf({ user, project }: { readonly user?: string | null | undefined; readonly project?: string | null | undefined }) {
  return { ...(typeof user === 'string' ? { user } : {}), ...(typeof project === 'string' ? { project } : {}) };
}

/** What a person said: the input, then what they attached. Throws `invalid_request` for what nobody could see. */
export function inputParts(request: Pick<ChatRequest, 'input' | 'attachments'>): UserPart[] {
  const parts: UserPart[] = typeof request.input === 'string' ? [{ type: 'text', text: request.input }] : request.input;
  const all = [...parts, ...(request.attachments ?? [])];
  if (all.every((part) => part.type === 'text' && isBlank(part.text)))
    throw new NexusError('invalid_request', 'input: expected text or an image, but there is nothing in it that anybody could see');
  return all;
}

/** Throws `model_not_found` for a model that nobody serves, whether or not the run begins at once. */
export async function requireModel(engine: Pick<Engine, 'llm'>, model: string | undefined): Promise<void> {
  if (model !== undefined) await engine.llm.resolve([model]);
}

export function sessionClosed(sessionId: string): NexusError {
  return new NexusError('conflict', `session ${sessionId} is closed; create another one`);
}

export function sessionBusy(sessionId: string, runId: string): NexusError {
  return new NexusError('session_busy', `session ${sessionId} is busy with run ${runId}; wait until it has ended, or queue behind it`, {
    details: { runId },
  });
}
