import { createManualClock } from '#core/testing';
import type { DecisionRequest } from '#policy/compile';
import { createPolicyEngine, type PolicyEngine } from '#policy/engine';

/** An engine whose time stands still unless it is given another. */
export function createTestEngine(options: Partial<Parameters<typeof createPolicyEngine>[0]> = {}): PolicyEngine {
  return createPolicyEngine({ clock: createManualClock(), ...options });
}

/** Requests for tests: an agent runs a tool, calls a model or reaches a host. */
export function toolRequest(tool: string, changes: Partial<DecisionRequest> = {}): DecisionRequest {
  return {
    principal: { type: 'Agent', id: 'chat', tenant: 'acme' },
    action: 'tool.execute',
    resource: { type: 'Tool', id: tool },
    context: {},
    ...changes,
  };
}

export function modelRequest(
  model: string,
  changes: Partial<DecisionRequest> & { declared?: boolean; priceKnown?: boolean } = {},
): DecisionRequest {
  const { declared = true, priceKnown = true, ...rest } = changes;
  return toolRequest('', {
    action: 'model.invoke',
    resource: { type: 'Model', id: model, attributes: { declared } },
    context: { priceKnown },
    ...rest,
  });
}

export function hostRequest(host: string, changes: Partial<DecisionRequest> = {}): DecisionRequest {
  return toolRequest('', { action: 'net.egress', resource: { type: 'Host', id: host }, ...changes });
}

export function userRequest(changes: Pick<DecisionRequest, 'action' | 'resource'> & { roles?: string[] }): DecisionRequest {
  const { roles = [], ...rest } = changes;
  return { principal: { type: 'User', id: 'ada', tenant: 'acme', roles }, context: {}, ...rest };
}
