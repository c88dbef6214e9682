import type { RunId, SessionId } from '@nexus-agent/protocol';
import { denialMessage, originOf, type RecordedDecision, recordDecision } from '#calls';
import { NexusError } from '#core';
import type { Principal } from '#identity';
import type { Engine } from '#runs/steps';
import type { AgentVersionRow } from '#storage';

/**
 * Asks whether a person may start, fork or go on with a run of the agent. The record of a permit is the caller's to
 * write, together with what it permits. Throws `policy_denied` once the refusal is recorded.
 */
export async function mayStart(
  engine: Engine,
  principal: Principal,
  about: { readonly runId: RunId; readonly agent: AgentVersionRow; readonly sessionId: SessionId },
): Promise<RecordedDecision> {
  const decision = recordDecision(
    engine,
    { runId: about.runId, callId: null },
    {
      principal: { type: 'User', id: principal.id, tenant: principal.tenantId, roles: principal.roles },
      action: 'run.start',
      resource: { type: 'Agent', id: about.agent.name, attributes: { origin: originOf(about.agent) } },
      context: { sessionId: about.sessionId },
    },
  );
  if (decision.record.effect === 'allow') return decision;
  await engine.store.commit({ tenantId: principal.tenantId, decisions: [decision.row] });
  const { id, reasons } = decision.record;
  throw new NexusError('policy_denied', denialMessage(decision.record), { details: { decisionId: id, reasons } });
}
