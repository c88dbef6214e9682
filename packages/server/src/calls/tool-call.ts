import type { BudgetAmounts, ReservationId } from '@nexus-agent/protocol';
import { NexusError, settlesWithin, toErrorInfo } from '#core';
import type { ReserveOperation } from '#ledger';
import { type DecisionRequest, filePath } from '#policy';
import type { AuthorizationRequest, AuthorizationVerdict, ResumedCall, ToolCall, ToolCallEnd, ToolDescriptor } from '#tools';
import type { ChargeContext } from './charge.ts';
import { type Actor, decideForAgent, denialMessage, type RecordedDecision } from './decisions.ts';
import { type CallEngine, expiry } from './engine.ts';

/** Asks policy about a tool call with exactly the arguments that will run. */
export function decideTool(
  engine: CallEngine,
  charge: Actor,
  callId: string,
  tool: ToolDescriptor,
  context: DecisionRequest['context'] & { readonly arguments: Record<string, unknown>; readonly step: number },
): RecordedDecision {
  return decideForAgent(engine, charge, callId, {
    action: 'tool.execute',
    resource: { type: 'Tool', id: tool.name, attributes: { effects: tool.effects, permissions: [...tool.permissions] } },
    context: { ...context, ...(tool.maxCostMicroUsd === undefined ? {} : { estimatedCostMicroUsd: tool.maxCostMicroUsd }) },
  });
}

/**
 * Reserves one tool call with the most that it may cost.
 *
 * @param wall whether its time counts: a sub-agent pays for its own
 * @param counts false where a call that was suspended goes on: it has been counted
 * @param beside reservations of calls of the same run that go on: their time is shared
 */
export function reserveTool(
  engine: CallEngine,
  charge: ChargeContext,
  tool: ToolDescriptor,
  {
    reservationId,
    timeoutMs,
    wall,
    counts = true,
    beside = [],
  }: {
    readonly reservationId: ReservationId;
    readonly timeoutMs: number;
    readonly wall: boolean;
    readonly counts?: boolean;
    readonly beside?: readonly string[];
  },
): ReserveOperation {
  return {
    type: 'reserve',
    reservationId,
    runId: charge.runId,
    scopes: charge.scopes,
    fixed: { toolCalls: counts ? 1 : 0, ...(tool.maxCostMicroUsd === undefined ? {} : { costMicroUsd: tool.maxCostMicroUsd }) },
    ...(wall ? { wallMs: { min: Math.min(100, timeoutMs), max: timeoutMs }, beside } : {}),
    ...expiry(engine, timeoutMs),
  };
}

/** A call that has ended waits so long for its decisions to be recorded: a store that is silent must not hold it. They are written all the same. */
const recordGraceMs = 1_000;

/** A tool call that is allowed and paid for. */
export interface GrantedToolCall {
  readonly tool: ToolDescriptor;
  readonly input: Record<string, unknown>;
  readonly callId: string;
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly timeoutMs: number;
  /** Whose files; the session's when left out. */
  readonly filesOf?: string;
  readonly calling?: ToolCall['calling'];
  readonly resume?: ResumedCall;
  /** It began in another process: it is waited for. */
  readonly rejoins?: boolean;
  /** Whether the agent can read what is kept of results. */
  readonly readsArtifacts?: boolean;
}

export interface ToolCallHooks {
  readonly signal: AbortSignal;
  readonly traceparent?: string | undefined;
  readonly onOutput: (text: string) => void;
}

/**
 * Runs it. Whatever it touches outside its arguments is decided by policy first, and recorded before it happens. Rejects only
 * when the tool service breaks off without an end: then nobody knows what the tool did.
 */
export async function performTool(
  engine: CallEngine,
  charge: ChargeContext,
  call: GrantedToolCall,
  hooks: ToolCallHooks,
): Promise<ToolCallEnd> {
  const { callId, attempt, tool } = call;
  const answering = new Set<Promise<void>>();
  const touched: Touched = { recorded: 0 };
  const parts = engine.tools.execute(
    {
      tenantId: charge.tenantId,
      sessionId: charge.sessionId,
      runId: charge.runId ?? callId,
      callId,
      attempt,
      idempotencyKey: call.idempotencyKey,
      toolName: tool.name,
      // One that began by an earlier version goes on by that.
      ...(call.rejoins === true ? { rejoins: true } : { toolVersion: tool.version }),
      input: call.input,
      timeoutMs: call.timeoutMs,
      ...(call.readsArtifacts === true ? { readsArtifacts: true } : {}),
      ...(call.filesOf === undefined ? {} : { filesOf: call.filesOf }),
      ...(call.calling === undefined ? {} : { calling: call.calling }),
      ...(call.resume === undefined ? {} : { resume: call.resume }),
      ...(hooks.traceparent === undefined ? {} : { traceparent: hooks.traceparent }),
    },
    { signal: hooks.signal },
  );
  for await (const part of parts) {
    switch (part.type) {
      case 'output':
        hooks.onOutput(part.text);
        break;
      case 'authorization.wanted': {
        const { authorizationId } = part;
        const answered = authorize(engine, charge, call, touched, part).then((verdict) =>
          engine.tools.authorize({ callId, attempt, authorizationId, ...verdict }),
        );
        const settled = answered
          .catch((error: unknown) => engine.logger.warn({ callId, err: error }, 'a tool could not be told what it may touch'))
          .finally(() => answering.delete(settled));
        answering.add(settled);
        break;
      }
      default:
        if (answering.size > 0) await settlesWithin(engine.timers, Promise.all(answering), recordGraceMs);
        return call.rejoins === true ? endOfRejoined(tool, part) : part;
    }
  }
  throw new NexusError('internal', `the call of ${tool.name} broke off`);
}

/** A call that this process could not come back to was begun all the same. */
function endOfRejoined(tool: ToolDescriptor, end: ToolCallEnd): ToolCallEnd {
  if (end.type !== 'failed' || end.began) return end;
  if (tool.effects !== 'once') return { ...end, began: true };
  const { code, message } = end.error;
  const unknown = `${message}; whether ${tool.name} took effect is not known`;
  return { ...end, began: true, error: { code: 'tool_outcome_unknown', message: unknown, retryable: false, details: { cause: code } } };
}

/** Fails closed: what cannot be decided or recorded is refused. */
async function authorize(
  engine: CallEngine,
  charge: ChargeContext,
  call: GrantedToolCall,
  touched: Touched,
  wanted: AuthorizationRequest,
): Promise<AuthorizationVerdict> {
  const { callId } = call;
  try {
    if (isOfFile(wanted)) return await authorizeFile(engine, charge, call, touched, wanted);
    const context = { tool: call.tool.name };
    const decision = decideForAgent(engine, charge, callId, { action: wanted.action, resource: outsideResource(wanted), context });
    await engine.store.commit({ tenantId: charge.tenantId, decisions: [decision.row] });
    if (decision.record.effect === 'allow') return { allowed: true };
    return { allowed: false, error: { code: 'policy_denied', message: denialMessage(decision.record), retryable: false } };
  } catch (error) {
    engine.logger.error({ callId, err: error }, 'what a tool wants to touch could not be decided');
    return { allowed: false, error: toErrorInfo(error) };
  }
}

/** How many decisions on files one call has left in the records. */
interface Touched {
  recorded: number;
}

/** A search asks about thousands of files: so many decisions of a call are recorded one by one. */
const maxRecordedFiles = 200;

type FileAction = 'file.read' | 'file.write';

function isOfFile(wanted: AuthorizationRequest): wanted is AuthorizationRequest & { readonly action: FileAction } {
  return wanted.action === 'file.read' || wanted.action === 'file.write';
}

/**
 * A file of the session is asked about where some policy speaks of files, or forbids the tool by its path: such a rule holds for each
 * file that is touched, whatever argument names it. Otherwise the call itself was the question, and nothing more is recorded.
 */
async function authorizeFile(
  engine: CallEngine,
  charge: ChargeContext,
  { callId, tool, input }: GrantedToolCall,
  touched: Touched,
  { action, resource: path }: AuthorizationRequest & { readonly action: FileAction },
): Promise<AuthorizationVerdict> {
  const { tenantId } = charge;
  const byPath = forbiddenPath(engine, charge, callId, tool, input, path);
  const speaks = engine.policy.speaksOf(action);
  if (byPath === 'none' && !speaks) return { allowed: true, always: true };
  const decision =
    byPath === 'none' || byPath === 'allowed'
      ? decideForAgent(engine, charge, callId, { action, resource: { type: 'File', id: path }, context: { tool: tool.name } })
      : byPath;
  touched.recorded += 1;
  if (touched.recorded <= maxRecordedFiles && (speaks || decision.record.effect !== 'allow'))
    await engine.store.commit({ tenantId, decisions: [decision.row] });
  if (decision.record.effect === 'allow') return { allowed: true };
  return { allowed: false, error: { code: 'policy_denied', message: denialMessage(decision.record), retryable: false } };
}

/** The call as policies on the argument `path` would have judged it, had it named this file: as it is written, and in the form in which files are compared. */
function forbiddenPath(
  engine: CallEngine,
  charge: ChargeContext,
  callId: string,
  tool: ToolDescriptor,
  input: Record<string, unknown>,
  path: string,
): RecordedDecision | 'allowed' | 'none' {
  if (!engine.policy.forbidsSomePath()) return 'none';
  for (const spelling of new Set([path, filePath(path)])) {
    const decision = decideTool(engine, charge, callId, tool, { arguments: { ...input, path: spelling }, step: 1 });
    if (engine.policy.isPathForbid(decision.record)) return decision;
  }
  return 'allowed';
}

/** What a tool wants to touch, with what policies may read of it: of a host its port and scheme. */
function outsideResource(wanted: AuthorizationRequest): DecisionRequest['resource'] {
  if (wanted.action === 'secret.use') return { type: 'Secret', id: wanted.resource };
  const { port, scheme, private: isPrivate } = wanted.context ?? {};
  const attributes = {
    ...(typeof port === 'number' ? { port } : {}),
    ...(typeof scheme === 'string' ? { scheme } : {}),
    ...(isPrivate === true ? { private: true } : {}),
  };
  return { type: 'Host', id: wanted.resource, attributes };
}

/**
 * What a call used, in the units of the ledger: its cost where it is known, else the most that it may have cost. Null when the
 * tool was never called: its reservation is to be released.
 */
export function toolAmounts(tool: ToolDescriptor, end: ToolCallEnd, grantedWallMs: number, counts = true): BudgetAmounts | null {
  if (end.type === 'failed' && !end.began) return null;
  return {
    toolCalls: counts ? 1 : 0,
    costMicroUsd: bookedCost(tool, end),
    wallMs: Math.min(Math.ceil(end.durationMs), grantedWallMs),
  };
}

/** One that is suspended says what it cost as it ends. */
function bookedCost(tool: ToolDescriptor, end: ToolCallEnd): number {
  if (end.type === 'suspended') return 0;
  return end.type === 'completed' ? end.costMicroUsd : (tool.maxCostMicroUsd ?? 0);
}
