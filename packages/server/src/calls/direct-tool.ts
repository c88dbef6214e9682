import type { AgentDefinition, ReservationId, ToolExecuteResult } from '@nexus-agent/protocol';
import { inTurn, needsOf } from '#budget';
import { NexusError, unknownTool } from '#core';
import type { Commit } from '#storage';
import { checkArguments, offeredTools, type ToolCallEnd, withoutArtifact } from '#tools';
import { artifactRow, readsArtifacts, refusedArtifact } from './artifacts.ts';
import type { ChargeContext } from './charge.ts';
import { denialMessage } from './decisions.ts';
import type { CallEngine } from './engine.ts';
import { refusalThrown, withWait } from './refusal.ts';
import { decideTool, performTool, reserveTool, toolAmounts } from './tool-call.ts';

/**
 * Runs one tool without a run: decide, reserve, do, settle. The decision and the reservation are durable before the tool
 * starts; where only what others hold stands in its way, it waits for its turn. A call that needs approval is refused, for there is no run that could wait. Aborting the signal cancels the tool;
 * what it used is settled all the same.
 *
 * Throws `tool_not_found`, `tool_input_invalid`, `invalid_request` for a tool that asks people, `conflict` where the session is not open
 * any more, `policy_denied`, `budget_exceeded` and `budget_contended`; a failure of the tool itself is a result.
 */
export async function callToolDirectly(
  engine: CallEngine,
  charge: ChargeContext,
  request: {
    readonly name: string;
    readonly input: Record<string, unknown>;
    /** Of the agent, whose offer it is: it has no more here than in a run. */
    readonly offered: Pick<AgentDefinition, 'tools' | 'mcpServers'>;
  },
  signal: AbortSignal,
): Promise<ToolExecuteResult> {
  const { store } = engine;
  const { tenantId, sessionId } = charge;
  const tools = offeredTools(await engine.tools.list(tenantId), request.offered);
  const tool = tools.find(({ name }) => name === request.name);
  if (tool === undefined) {
    const known = tools.map(({ name }) => name);
    throw unknownTool(request.name, known, `agent ${charge.agent} is offered`);
  }
  if (tool.kind === 'question')
    throw new NexusError('invalid_request', `${tool.name} asks a person in the course of a run and cannot be called by itself`);
  if (tool.kind === 'timer') throw new NexusError('invalid_request', `${tool.name} makes a run wait and cannot be called by itself`);
  const checked = checkArguments(engine.schemas, tool, request.input);
  if (checked.type === 'error') {
    const { code, message, details } = checked.error;
    throw new NexusError(code, message, details === undefined ? {} : { details });
  }

  const callId = engine.ids.next<string>('call');
  const decision = decideTool(engine, charge, callId, tool, { arguments: checked.input, step: 1 });
  if (decision.record.effect !== 'allow') {
    await store.commit({ tenantId, decisions: [decision.row] });
    const message =
      decision.record.effect === 'deny'
        ? denialMessage(decision.record)
        : `${tool.name} needs approval, which only a call within a run can wait for`;
    throw new NexusError('policy_denied', message, { details: { decisionId: decision.record.id, reasons: decision.record.reasons } });
  }

  const reservationId = engine.ids.next<ReservationId>('reservation');
  const plan = () => reserveTool(engine, charge, tool, { reservationId, timeoutMs: tool.timeoutMs, wall: true });
  const { answer: reserved, waitedMs } = await inTurn(
    engine.admission,
    { tenantId, needs: needsOf(plan()), signal },
    // The session may have been deleted meanwhile, with its limits.
    () => store.commit({ tenantId, openSession: sessionId, decisions: [decision.row], ledger: [plan()] }),
    (answer) => (answer.type === 'refused' ? answer : null),
  );
  if (reserved.type === 'refused') {
    await store.commit({ tenantId, decisions: [decision.row] });
    const refusal = withWait(reserved.refusal, waitedMs);
    const { unit, scope } = refusal;
    engine.logger.info({ callId, unit, scope: scope.kind }, 'a budget refused');
    throw refusalThrown(refusal, 'tool');
  }
  if (reserved.type === 'closed') throw new NexusError('conflict', `session ${sessionId} is closed`);
  if (reserved.type !== 'committed') throw new NexusError('internal', `the reservation could not be written (${reserved.type})`);
  const [outcome] = reserved.outcomes;
  const timeoutMs = (outcome?.type === 'reserved' ? outcome.wallMs : null) ?? tool.timeoutMs;

  const call = {
    ...{ tool, input: checked.input, callId, attempt: 1, idempotencyKey: callId, timeoutMs },
    readsArtifacts: readsArtifacts(tools),
  };
  const given = await performTool(engine, charge, call, { signal, onOutput: () => undefined });
  const actual = toolAmounts(tool, given, timeoutMs);
  const commit = (end: ToolCallEnd) =>
    store.commit({
      tenantId,
      ledger: [actual === null ? { type: 'release', reservationId } : { type: 'settle', reservationId, actual }],
      ...filesOf(end, callId),
      ...(end.type === 'completed' && end.artifact !== undefined
        ? { artifacts: [artifactRow(charge, { callId, tool: tool.name }, end.artifact)] }
        : {}),
    });
  const end = await commit(given).then(
    () => given,
    async (error: unknown) => {
      if (given.type !== 'completed' || refusedArtifact(error) === null) throw error;
      const cut = withoutArtifact(given);
      await commit(cut);
      return cut;
    },
  );
  const durationMs = Math.round(end.durationMs);
  if (end.type === 'completed') {
    const { output, artifact } = end;
    return { status: 'ok', output, durationMs, ...(artifact === undefined ? {} : { artifactId: artifact.artifactId }) };
  }
  if (end.type === 'failed') return { status: 'error', output: '', error: end.error, durationMs };
  throw new NexusError('internal', `${tool.name} waits for calls, though it was offered none`);
}

/** What the call changed of files is written as it is paid for. */
function filesOf(end: ToolCallEnd, callId: string): Pick<Commit, 'files'> {
  if (end.type !== 'completed' || end.files === undefined || end.files.changes.length === 0) return {};
  const { treeId, changes } = end.files;
  return { files: [{ treeId, runId: null, callId, changes }] };
}
