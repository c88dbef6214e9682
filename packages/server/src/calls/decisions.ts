import type { DecisionRecord } from '@nexus-agent/protocol';
import { canonicalJson, sha256 } from '#core';
import { type AgentOrigin, type DecisionRequest, operatorTenant } from '#policy';
import type { AgentVersionRow, DecisionRow } from '#storage';
import type { ChargeContext } from './charge.ts';
import type { CallEngine } from './engine.ts';

/** A decision with the record of it that must be written together with what it allowed or refused. */
export interface RecordedDecision {
  readonly record: DecisionRecord;
  readonly row: DecisionRow;
}

type DecidingEngine = Pick<CallEngine, 'policy' | 'ids' | 'metrics' | 'clock'>;

/** Who acts, for whom, and which policies hold. */
export type Actor = Pick<
  ChargeContext,
  'tenantId' | 'sessionId' | 'runId' | 'agent' | 'origin' | 'agentVersion' | 'onBehalfOf' | 'agentPolicy' | 'sessionPolicy'
>;

/** Whose word a definition is: the operator's unless another tenant put it. */
export function originOf({ source, tenantId }: Pick<AgentVersionRow, 'source' | 'tenantId'>): AgentOrigin {
  return source === 'api' && tenantId !== operatorTenant ? 'tenant' : 'operator';
}

/** Asks policy whether the agent of a charge context may do something, and numbers the answer. */
export function decideForAgent(engine: DecidingEngine, charge: Actor, callId: string | null, request: AgentRequest): RecordedDecision {
  return recordDecision(engine, { runId: charge.runId, callId }, ofAgent(charge, request));
}

/** Whether policy would deny something to the agent of a charge context: for telling why it did. Nothing is recorded. */
export function wouldDeny({ policy }: Pick<CallEngine, 'policy'>, charge: Actor, request: AgentRequest): boolean {
  return policy.decide(ofAgent(charge, request)).effect === 'deny';
}

type AgentRequest = Pick<DecisionRequest, 'action' | 'resource' | 'context'>;

function ofAgent(charge: Actor, { action, resource, context }: AgentRequest): DecisionRequest {
  return {
    principal: { type: 'Agent', id: charge.agent, tenant: charge.tenantId, origin: charge.origin, version: charge.agentVersion },
    action,
    resource,
    context: { ...context, sessionId: charge.sessionId, onBehalfOf: charge.onBehalfOf },
    ...(charge.agentPolicy === null ? {} : { agentPolicy: charge.agentPolicy }),
    ...(charge.sessionPolicy === null ? {} : { sessionPolicy: charge.sessionPolicy }),
  };
}

/** Asks policy and gives the answer a number and the row that records it. Writes nothing. */
export function recordDecision(
  engine: DecidingEngine,
  about: { readonly runId: string | null; readonly callId: string | null },
  request: DecisionRequest,
): RecordedDecision {
  const decision = engine.policy.decide(request);
  const record: DecisionRecord = { id: engine.ids.next<string>('decision'), ...decision };
  engine.metrics.policyDecision(request.action, record.effect);
  const { arguments: input } = request.context;
  return {
    record,
    row: { ...record, ...about, argumentsHash: input === undefined ? null : sha256(canonicalJson(input)), at: engine.clock.now() },
  };
}

/** Why something was denied and what can be done about it, in words for people and models. */
export function denialMessage(record: DecisionRecord): string {
  const { errors = [], reasons } = record;
  if (record.effect === 'require_approval')
    return `policy asks for approval of ${record.action} on ${record.resource} (${reasons.join(', ')}), which only tool calls support`;
  const why = errors.length > 0 ? `the evaluation failed: ${errors.join('; ')}` : reasons.join(', ');
  return `policy does not allow ${record.action} on ${record.resource} (${why}); ${remedy(record)}`;
}

/** What people ask for, and not a run of an agent. */
const ofPeople = /^(?:admin|approval|session)\./;

function remedy({ errors = [], reasons, action, resource }: DecisionRecord): string {
  if (errors.length > 0) return 'an operator has to correct the policy';
  if (reasons.includes('default-deny') && ofPeople.test(action))
    return 'nothing permits it: an owner may do it, and a policy of the operator can allow it';
  if (reasons.includes('default-deny'))
    return `nothing permits it: ${lineThatPermits(resource)}the policy of the agent or of the operator can allow it`;
  return 'do without it, or ask who is responsible for that policy';
}

const prefixes: ReadonlyMap<string, string> = new Map([
  ['Tool', ''],
  ['Host', 'net:'],
  ['Secret', 'secret:'],
  ['Model', 'model:'],
]);

/** What the short form of an agent's policy would say; nothing for a name that is not plain, or that would be read as a pattern. */
function lineThatPermits(resource: string): string {
  const [, type = '', name = ''] = /^(\w+)::"([\w./:@-]{1,300})"$/.exec(resource) ?? [];
  const prefix = prefixes.get(type);
  return prefix === undefined ? '' : `allow: [${JSON.stringify(prefix + name)}] in `;
}
