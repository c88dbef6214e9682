import { type BudgetScope, BudgetScopeKind, type BudgetUnit, type BudgetWindow } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { LedgerEntry, LedgerRow, ReservationRow } from './ledger-types.ts';
import type { Row } from './schema.ts';
import type { AgentVersionRow, ApprovalRow, DecisionRow, KeyRow, RunPatch, RunRow, SessionRow, StoredEvent } from './types.ts';

/**
 * Between table rows and the types of the contract. What is read here was written here, so its JSON and its closed
 * sets of words are trusted: that is why this file may name the type of what it parses.
 */
function parse<T>(text: string): T {
  return JSON.parse(text) as T; // written by `json` below from a T
}
function parseNullable<T>(text: string | null): T | null {
  return text === null ? null : parse<T>(text);
}
function json(value: unknown): string {
  return JSON.stringify(value) ?? 'null';
}
function jsonNullable(value: unknown): string | null {
  return value === null || value === undefined ? null : json(value);
}

export function sessionFromRow(row: Row<'sessions'>): SessionRow {
  return {
    tenantId: row.tenant_id as SessionRow['tenantId'],
    sessionId: row.session_id as SessionRow['sessionId'],
    status: row.status as SessionRow['status'],
    agent: row.agent,
    agentVersion: row.agent_version,
    policy: parseNullable(row.policy),
    user: row.user_name,
    project: row.project,
    metadata: parseNullable(row.metadata),
    createdAt: row.created_at,
  };
}
export function sessionToRow(session: SessionRow): Row<'sessions'> {
  return {
    tenant_id: session.tenantId,
    session_id: session.sessionId,
    status: session.status,
    agent: session.agent,
    agent_version: session.agentVersion,
    policy: jsonNullable(session.policy),
    user_name: storable(session.user, 'user'),
    project: storable(session.project, 'project'),
    metadata: jsonNullable(session.metadata),
    created_at: session.createdAt,
  };
}

export function runFromRow(row: Row<'runs'>): RunRow {
  return {
    tenantId: row.tenant_id as RunRow['tenantId'],
    runId: row.run_id as RunRow['runId'],
    sessionId: row.session_id as RunRow['sessionId'],
    agent: row.agent,
    agentVersion: row.agent_version,
    model: row.model,
    parentRunId: row.parent_run_id as RunRow['parentRunId'],
    status: row.status as RunRow['status'],
    waiting: parseNullable(row.waiting),
    step: row.step,
    lastSeq: row.last_seq,
    totals: parse(row.totals),
    output: parseNullable(row.output),
    error: parseNullable(row.error),
    resumable: row.resumable === 1,
    epoch: row.epoch,
    leaseOwner: row.lease_owner,
    dueAt: row.due_at,
    cancelRequested: parseNullable(row.cancel_requested),
    budget: parseNullable(row.budget),
    traceId: row.trace_id,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
export function runToRow(run: RunRow): Row<'runs'> {
  return {
    tenant_id: run.tenantId,
    run_id: run.runId,
    session_id: run.sessionId,
    agent: run.agent,
    agent_version: run.agentVersion,
    model: storable(run.model, 'model'),
    parent_run_id: run.parentRunId,
    status: run.status,
    waiting: jsonNullable(run.waiting),
    step: run.step,
    last_seq: run.lastSeq,
    totals: json(run.totals),
    output: jsonNullable(run.output),
    error: jsonNullable(run.error),
    resumable: run.resumable ? 1 : 0,
    epoch: run.epoch,
    lease_owner: run.leaseOwner,
    due_at: run.dueAt,
    woken: 0,
    cancel_requested: jsonNullable(run.cancelRequested),
    budget: jsonNullable(run.budget),
    trace_id: run.traceId,
    created_at: run.createdAt,
    updated_at: run.updatedAt,
  };
}

/** The columns of a run that a commit may change, as they stand while it is locked. */
export const mutableRunColumns = [
  'status',
  'waiting',
  'step',
  'last_seq',
  'totals',
  'output',
  'error',
  'resumable',
  'lease_owner',
  'due_at',
  'woken',
  'updated_at',
] as const satisfies readonly (keyof Row<'runs'>)[];

export function patchToRow(patch: RunPatch): Partial<Row<'runs'>> {
  return {
    ...(patch.status === undefined ? {} : { status: patch.status }),
    ...(patch.waiting === undefined ? {} : { waiting: jsonNullable(patch.waiting) }),
    ...(patch.step === undefined ? {} : { step: patch.step }),
    ...(patch.totals === undefined ? {} : { totals: json(patch.totals) }),
    ...(patch.output === undefined ? {} : { output: jsonNullable(patch.output) }),
    ...(patch.error === undefined ? {} : { error: jsonNullable(patch.error) }),
    ...(patch.resumable === undefined ? {} : { resumable: patch.resumable ? 1 : 0 }),
    ...(patch.leaseOwner === undefined ? {} : { lease_owner: patch.leaseOwner }),
    ...(patch.dueAt === undefined ? {} : { due_at: patch.dueAt }),
  };
}

export function eventFromRow(row: Pick<Row<'run_events'>, 'seq' | 'type' | 'at' | 'data'>): StoredEvent {
  return { seq: row.seq, type: row.type as StoredEvent['type'], at: row.at, data: row.data };
}

export function approvalFromRow(row: Row<'approvals'>): ApprovalRow {
  return {
    tenantId: row.tenant_id as ApprovalRow['tenantId'],
    approvalId: row.approval_id,
    runId: row.run_id as ApprovalRow['runId'],
    sessionId: row.session_id as ApprovalRow['sessionId'],
    callId: row.call_id,
    kind: row.kind as ApprovalRow['kind'],
    status: row.status as ApprovalRow['status'],
    toolName: row.tool_name,
    input: parse(row.input),
    question: parseNullable(row.question),
    role: row.role,
    defaultDecision: row.default_decision as ApprovalRow['defaultDecision'],
    deadlineAt: row.deadline_at,
    decision: row.decision as ApprovalRow['decision'],
    answer: parseNullable(row.answer),
    decidedBy: row.decided_by,
    decidedAt: row.decided_at,
    createdAt: row.created_at,
  };
}
export function approvalToRow(approval: ApprovalRow): Row<'approvals'> {
  return {
    tenant_id: approval.tenantId,
    approval_id: approval.approvalId,
    run_id: approval.runId,
    session_id: approval.sessionId,
    call_id: storable(approval.callId, 'callId'),
    kind: approval.kind,
    status: approval.status,
    tool_name: storable(approval.toolName, 'toolName'),
    input: json(approval.input),
    question: jsonNullable(approval.question),
    role: storable(approval.role, 'role'),
    default_decision: approval.defaultDecision,
    deadline_at: approval.deadlineAt,
    decision: approval.decision,
    answer: jsonNullable(approval.answer),
    decided_by: storable(approval.decidedBy, 'decidedBy'),
    decided_at: approval.decidedAt,
    created_at: approval.createdAt,
  };
}
export function answerToJson(answer: ApprovalRow['answer']): string | null {
  return jsonNullable(answer);
}

export function agentFromRow(row: Row<'agent_versions'>): AgentVersionRow {
  return {
    tenantId: row.tenant_id as AgentVersionRow['tenantId'],
    name: row.name,
    version: row.version,
    source: row.source as AgentVersionRow['source'],
    definition: parse(row.definition),
    createdAt: row.created_at,
  };
}
export function agentToRow(agent: AgentVersionRow): Row<'agent_versions'> {
  return {
    tenant_id: agent.tenantId,
    name: storable(agent.name, 'name'),
    version: storable(agent.version, 'version'),
    source: agent.source,
    definition: json(agent.definition),
    created_at: agent.createdAt,
  };
}

export function keyFromRow(row: Row<'api_keys'>): KeyRow {
  return {
    tenantId: row.tenant_id as KeyRow['tenantId'],
    keyId: row.key_id,
    name: parse(row.name),
    hash: row.hash,
    scopes: parse(row.scopes),
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
  };
}
export function keyToRow(key: KeyRow): Row<'api_keys'> {
  return {
    tenant_id: key.tenantId,
    key_id: key.keyId,
    name: json(key.name),
    hash: key.hash,
    scopes: json(key.scopes),
    created_at: key.createdAt,
    expires_at: key.expiresAt,
    revoked_at: key.revokedAt,
  };
}

export function decisionFromRow(row: Row<'policy_decisions'>): DecisionRow {
  return {
    ...parse<Omit<DecisionRow, 'runId' | 'callId' | 'argumentsHash' | 'at'>>(row.record),
    runId: row.run_id,
    callId: row.call_id,
    argumentsHash: row.arguments_hash,
    at: row.at,
  };
}
export function decisionToRow(tenantId: string, decision: DecisionRow): Row<'policy_decisions'> {
  const { runId, callId, argumentsHash, at, ...record } = decision;
  return {
    tenant_id: tenantId,
    decision_id: storable(record.id, 'decision id'),
    run_id: runId,
    call_id: storable(callId, 'callId'),
    arguments_hash: argumentsHash,
    record: json(record),
    at,
  };
}

/** A scope as one column: `<kind>:<id>`. */
export function scopeText(scope: BudgetScope): string {
  return `${scope.kind}:${storable(scope.id, 'budget scope')}`;
}
function scopeFromText(text: string): BudgetScope {
  const colon = text.indexOf(':');
  return { kind: BudgetScopeKind.parse(text.slice(0, colon)), id: text.slice(colon + 1) };
}
/** The scope column of a row key: an id may contain `|`, a unit and a window never do. */
export function scopeTextOfKey(key: string): string {
  const window = key.lastIndexOf('|');
  return key.slice(0, key.lastIndexOf('|', window - 1));
}

export type BudgetColumns = Pick<Row<'budgets'>, 'scope' | 'unit' | 'budget_window' | 'period' | 'limit_amount' | 'spent' | 'reserved'>;
export function ledgerRowFromRow(row: BudgetColumns): LedgerRow {
  return {
    scope: scopeFromText(row.scope),
    unit: row.unit as BudgetUnit,
    window: row.budget_window as BudgetWindow,
    period: row.period,
    limit: row.limit_amount,
    spent: row.spent,
    reserved: row.reserved,
  };
}
export function ledgerRowToRow(tenantId: string, row: LedgerRow): Row<'budgets'> {
  return {
    tenant_id: tenantId,
    scope: scopeText(row.scope),
    unit: row.unit,
    budget_window: row.window,
    period: row.period,
    limit_amount: row.limit,
    spent: row.spent,
    reserved: row.reserved,
  };
}
export function ledgerRowKeyOf(row: Pick<BudgetColumns, 'scope' | 'unit' | 'budget_window'>): string {
  return `${row.scope}|${row.unit}|${row.budget_window}`;
}

export function reservationFromRow(row: Row<'reservations'>): ReservationRow {
  return {
    reservationId: row.reservation_id,
    runId: row.run_id,
    state: row.state as ReservationRow['state'],
    dispatched: row.dispatched === 1,
    amounts: parse(row.amounts),
    rows: parse(row.budget_rows),
    grantedTokens: row.granted_tokens,
    grantedWallMs: row.granted_wall_ms,
    expiresAt: row.expires_at,
    charged: parseNullable(row.charged),
    closedAt: row.closed_at,
    expired: row.expired === 1,
  };
}
export function reservationToRow(tenantId: string, reservation: ReservationRow): Row<'reservations'> {
  return {
    tenant_id: tenantId,
    reservation_id: storable(reservation.reservationId, 'reservation id'),
    run_id: reservation.runId,
    state: reservation.state,
    dispatched: reservation.dispatched ? 1 : 0,
    amounts: json(reservation.amounts),
    budget_rows: json(reservation.rows),
    granted_tokens: reservation.grantedTokens,
    granted_wall_ms: reservation.grantedWallMs,
    expires_at: reservation.expiresAt,
    charged: jsonNullable(reservation.charged),
    closed_at: reservation.closedAt ?? null,
    expired: reservation.expired === true ? 1 : 0,
  };
}

export function entryFromRow(row: Row<'ledger_entries'>): LedgerEntry & { entryId: string; at: number } {
  return {
    entryId: row.entry_id,
    kind: row.kind as LedgerEntry['kind'],
    reservationId: row.reservation_id,
    runId: row.run_id,
    amounts: parse(row.amounts),
    rows: parse(row.budget_rows),
    at: row.at,
  };
}
export function entryToRow(tenantId: string, entryId: string, entry: LedgerEntry, at: number): Row<'ledger_entries'> {
  return {
    tenant_id: tenantId,
    entry_id: entryId,
    kind: entry.kind,
    reservation_id: entry.reservationId,
    run_id: entry.runId,
    amounts: json(entry.amounts),
    budget_rows: json(entry.rows),
    at,
  };
}

/** Text for a column of its own. Postgres cannot store NUL or half a surrogate pair, so neither database does. */
export function storable<T extends string | null>(text: T, name: string): T {
  if (text !== null && (text.includes('\u0000') || !text.isWellFormed())) {
    throw new NexusError('invalid_request', `${name} contains a character that cannot be stored`);
  }
  return text;
}
