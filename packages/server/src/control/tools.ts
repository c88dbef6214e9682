import type { AgentDefinition, SessionId, ToolExecuteResult, ToolInfo } from '@nexus-agent/protocol';
import { scopesOf } from '#budget';
import { type CallEngine, type ChargeContext, callToolDirectly, originOf } from '#calls';
import { NexusError } from '#core';
import type { Principal } from '#identity';
import type { AgentSource } from '#runs';
import { offeredTools, type ToolDescriptor } from '#tools';

/** The tools that there are, and running one without a run. */
export interface Tools {
  list(principal: Principal): Promise<readonly ToolInfo[]>;
  /**
   * Those that {@link execute} runs in a session of the agent: what the agent is offered, without those that ask people in the course of
   * a run. Throws `not_found` for an agent that there is not.
   */
  offered(principal: Principal, agent: string): Promise<readonly ToolInfo[]>;
  /**
   * Runs one tool outside a run, for trying it out: under the policy and the budget of a session, as its agent would.
   * See {@link callToolDirectly} for what it throws; besides that `not_found` and `conflict` for the session.
   */
  execute(
    principal: Principal,
    name: string,
    request: { readonly sessionId: string; readonly input: Record<string, unknown> },
    signal: AbortSignal,
  ): Promise<ToolExecuteResult>;
}

export function createTools({ engine, agents }: { readonly engine: CallEngine; readonly agents: AgentSource }): Tools {
  async function chargeOf(
    principal: Principal,
    sessionId: string,
  ): Promise<{ readonly charge: ChargeContext; readonly offered: AgentDefinition }> {
    const session = await engine.store.getSession(principal.tenantId, sessionId as SessionId); // an unknown id is simply not found
    if (session === null) throw new NexusError('not_found', `there is no session ${sessionId}`);
    if (session.status === 'closed') throw new NexusError('conflict', `session ${sessionId} is closed`);
    const agent = await agents.get(principal.tenantId, session.agent, session.agentVersion);
    const charge: ChargeContext = {
      tenantId: principal.tenantId,
      sessionId: session.sessionId,
      runId: null,
      agent: session.agent,
      origin: originOf(agent),
      agentVersion: agent.version,
      onBehalfOf: principal.id,
      agentPolicy: agent.definition.policy ?? null,
      sessionPolicy: session.policy,
      scopes: scopesOf({
        tenantId: principal.tenantId,
        project: session.project,
        agent: session.agent,
        user: session.user,
        session: session.sessionId,
      }),
      deadlineAt: null,
    };
    return { charge, offered: agent.definition };
  }

  return {
    list: async ({ tenantId }) => (await engine.tools.list(tenantId)).map(toolView),
    async offered({ tenantId }, agent) {
      const [{ definition }, known] = await Promise.all([agents.get(tenantId, agent), engine.tools.list(tenantId)]);
      return offeredTools(known, definition)
        .filter(({ kind }) => kind === undefined)
        .map(toolView);
    },
    async execute(principal, name, request, signal) {
      const { charge, offered } = await chargeOf(principal, request.sessionId);
      return callToolDirectly(engine, charge, { name, input: request.input, offered }, signal);
    },
  };
}

function toolView(tool: ToolDescriptor): ToolInfo {
  const { name, description, inputSchema, effects, permissions, timeoutMs, source = 'program', tier = 'host' } = tool;
  return { name, description, inputSchema, effects, permissions: [...permissions], timeoutMs, source, tier };
}
