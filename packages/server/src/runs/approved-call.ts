import { denialMessage, originOf } from '#calls';
import { NexusError } from '#core';
import { loadState } from '#runs/journal';
import { type AgentSource, calledBy, type Engine, judgeCall, originsOf, toolsOf } from '#runs/steps';
import type { ApprovalRow } from '#storage';

/** What a person allows: the call as it was asked about, or with other arguments. */
export interface ApprovedCall {
  readonly approval: ApprovalRow;
  readonly by: string;
  readonly arguments?: Record<string, unknown>;
}

/**
 * Whether the call would run once this person has allowed it: judged as the run itself will do it, so that an answer that leads to
 * nothing does not use the question up. Throws `tool_input_invalid` for arguments that do not fit, and `policy_denied` once that is
 * recorded. What cannot be told here (the tool is of another node, the call is over) is left to the run.
 */
export async function checkApprovedCall(
  { engine, agents }: { readonly engine: Engine; readonly agents: AgentSource },
  { approval, by, ...edited }: ApprovedCall,
): Promise<void> {
  const { tenantId, runId, sessionId, callId, approvalId, role } = approval;
  const { created, calls, step } = await loadState(engine.store, tenantId, runId);
  const call = calls.find((candidate) => candidate.callId === callId);
  const session = await engine.store.getSession(tenantId, sessionId);
  if (created === null || call === undefined || session === null) return;
  const agentRow = await agents.get(tenantId, created.agent, created.agentVersion);
  const { definition } = agentRow;
  const place = { depth: created.parent?.depth ?? 0, maxDepth: engine.settings.maxDepth, clientTools: created.clientTools };
  const tools = toolsOf(definition, await engine.tools.list(tenantId), place);
  const parent = calls.find((candidate) => candidate.callId === call.parentCallId);
  const offered =
    parent === undefined
      ? tools
      : calledBy(
          { tools },
          tools.find(({ name }) => name === parent.name),
        );
  const tool = offered.find(({ name }) => name === call.name);
  if (tool === undefined) return;
  const charge = {
    ...{ tenantId, runId, sessionId, agent: definition.name, onBehalfOf: created.principal },
    ...{ origin: originOf(agentRow), agentVersion: agentRow.version },
    agentPolicy: definition.policy ?? null,
    sessionPolicy: session.policy,
  };
  const approved = role === null ? { by } : { by, role };
  const rawInput = edited.arguments ?? approval.input;
  const judged = judgeCall(
    engine,
    { agent: definition, charge, origins: await originsOf(agents, agentRow) },
    { callId, step, tool, rawInput, approved },
  );
  const stays = `approval ${approvalId} still waits for an answer`;
  if (judged.type === 'unfit') {
    const { code, message, details } = judged.error;
    throw new NexusError(code, `${message}; ${stays}`, details === undefined ? {} : { details });
  }
  if (judged.type !== 'denied') return;
  const { record, row } = judged.denial;
  await engine.store.commit({ tenantId, decisions: [row] });
  const details = { decisionId: record.id, reasons: record.reasons };
  throw new NexusError('policy_denied', `with these arguments the call cannot run: ${denialMessage(record)}; ${stays}`, { details });
}
