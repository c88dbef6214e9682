import type { ReservationId, SessionId, ToolExecuteResult } from '@nexus-agent/protocol';
import { scopesOf } from '#budget';
import type { AgentCatalog } from '#control';
import { NexusError } from '#core';
import type { DecisionRequest } from '#policy';
import { outsideResource } from '#runs/drive';
import { budgetStop, type Engine } from '#runs/steps';
import type { DecisionRow } from '#storage';
import type { Principal } from '../runs/types.ts';
import { decide, denialMessage, type RecordedDecision } from './decisions.ts';

/**
 * Runs one tool outside a run, for trying it out: under the policy and the budget of a session, as its agent would.
 * The decision and the reservation are durable before the tool starts. A call that needs approval is refused, for there
 * is no run that could wait.
 */
export async function executeToolDirectly(
  engine: Engine,
  catalog: AgentCatalog,
  principal: Principal,
  name: string,
  request: { readonly sessionId: string; readonly input: Record<string, unknown> },
  signal: AbortSignal,
): Promise<ToolExecuteResult> {
  const { store, tools } = engine;
  const session = await store.getSession(principal.tenantId, request.sessionId as SessionId); // an unknown id is simply not found
  if (session === null) throw new NexusError('not_found', `there is no session ${request.sessionId}`);
  if (session.status === 'closed') throw new NexusError('conflict', `session ${request.sessionId} is closed`);
  const tool = tools.get(name);
  if (tool === undefined)
    throw new NexusError(
      'tool_not_found',
      `there is no tool "${name}"; the tools are ${tools
        .list()
        .map((known) => known.name)
        .join(', ')}`,
    );
  if (tool.kind === 'question')
    throw new NexusError('invalid_request', `${name} asks a person in the course of a run and cannot be called by itself`);
  const checked = tools.validate(tool, request.input);
  if (checked.type === 'error')
    throw new NexusError(
      checked.error.code,
      checked.error.message,
      checked.error.details === undefined ? {} : { details: checked.error.details },
    );

  const agent = await catalog.get(principal.tenantId, session.agent, session.agentVersion);
  const callId = engine.ids.next<string>('call');
  const ask = (
    action: 'tool.execute' | 'net.egress' | 'secret.use',
    resource: DecisionRequest['resource'],
    input?: unknown,
  ): RecordedDecision =>
    decide(
      engine,
      { runId: null, callId },
      {
        principal: { type: 'Agent', id: session.agent, tenant: principal.tenantId },
        action,
        resource,
        context: { ...(input === undefined ? {} : { arguments: input }), sessionId: session.sessionId, onBehalfOf: principal.id },
        ...(agent.definition.policy === undefined ? {} : { agentPolicy: agent.definition.policy }),
        ...(session.policy === null ? {} : { sessionPolicy: session.policy }),
      },
    );
  const record = (row: DecisionRow) => store.commit({ tenantId: principal.tenantId, decisions: [row] });

  const decision = ask(
    'tool.execute',
    { type: 'Tool', id: name, attributes: { effects: tool.effects, permissions: [...tool.permissions] } },
    checked.input,
  );
  if (decision.record.effect !== 'allow') {
    await record(decision.row);
    const message =
      decision.record.effect === 'deny'
        ? denialMessage(decision.record)
        : `${name} needs approval, which only a call within a run can wait for`;
    throw new NexusError('policy_denied', message, { details: { decisionId: decision.record.id, reasons: decision.record.reasons } });
  }

  // Before the reservation: a folder that cannot be made must not leave one open.
  const workspace = await engine.workspaceOf(principal.tenantId, session.sessionId);
  const reservationId = engine.ids.next<ReservationId>('reservation');
  const reserved = await store.commit({
    tenantId: principal.tenantId,
    decisions: [decision.row],
    ledger: [
      {
        type: 'reserve',
        reservationId,
        runId: null,
        scopes: scopesOf({
          tenantId: principal.tenantId,
          project: session.project,
          agent: session.agent,
          user: session.user,
          session: session.sessionId,
        }),
        fixed: { toolCalls: 1, ...(tool.maxCostMicroUsd === undefined ? {} : { costMicroUsd: tool.maxCostMicroUsd }) },
        wallMs: { min: Math.min(100, tool.timeoutMs), max: tool.timeoutMs },
        dispatched: true,
        expiresAt: engine.clock.now() + tool.timeoutMs + engine.settings.reservationSlackMs,
      },
    ],
  });
  if (reserved.type === 'refused') {
    const stop = budgetStop(reserved.refusal, 'tool');
    throw new NexusError('budget_exceeded', stop.type === 'fail' ? stop.error.message : 'the budget is used up', {
      details: { ...reserved.refusal },
    });
  }
  if (reserved.type !== 'committed') throw new NexusError('internal', `the reservation could not be written (${reserved.type})`);
  const [outcome] = reserved.outcomes;
  const timeoutMs = (outcome?.type === 'reserved' ? outcome.wallMs : null) ?? tool.timeoutMs;

  const execution = await tools.execute(
    tool,
    checked.input,
    {
      tenantId: principal.tenantId,
      sessionId: session.sessionId,
      runId: callId,
      callId,
      attempt: 1,
      idempotencyKey: callId,
      workspace,
      signal,
      onOutput: () => undefined,
      async authorize(wanted) {
        const inner = ask(wanted.action, outsideResource(wanted));
        await record(inner.row);
        return inner.record.effect === 'allow'
          ? { allowed: true }
          : { allowed: false, error: { code: 'policy_denied', message: denialMessage(inner.record), retryable: false } };
      },
    },
    { timeoutMs },
  );
  const costMicroUsd = execution.type === 'ok' ? execution.costMicroUsd : (tool.maxCostMicroUsd ?? 0);
  await store.commit({
    tenantId: principal.tenantId,
    ledger: [
      {
        type: 'settle',
        reservationId,
        actual: { toolCalls: 1, costMicroUsd, wallMs: Math.min(Math.ceil(execution.durationMs), timeoutMs) },
      },
    ],
  });
  const durationMs = Math.round(execution.durationMs);
  return execution.type === 'ok'
    ? { status: 'ok', output: execution.output, durationMs }
    : { status: 'error', output: '', error: execution.error, durationMs };
}
