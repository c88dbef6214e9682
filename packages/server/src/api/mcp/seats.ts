import type { ApiServices } from '#api/contract';
import { createCountedCache, NexusError } from '#core';
import type { McpCaller } from './surface.ts';

/** The Nexus session that the tools of a caller run in: under its budget and policy, with its files. */
export interface Seats {
  /** Whose tools the caller is offered. */
  agentOf(caller: McpCaller): Promise<string>;
  /** Does something in the session of the caller, which is made when it is first needed, and anew when it was closed since. */
  inSession<T>(caller: McpCaller, work: (sessionId: string) => Promise<T>): Promise<T>;
}

/** So many are remembered; whoever is forgotten gets a new one. */
const maxSeats = 10_000;

export function createSeats({ sessions }: Pick<ApiServices, 'sessions'>, defaultAgent: string): Seats {
  const made = createCountedCache<string, Promise<string>>(maxSeats);

  async function agentOf({ principal, agent, session }: McpCaller): Promise<string> {
    if (session === undefined) return agent ?? defaultAgent;
    const { agent: its } = await sessions.get(principal, session);
    if (agent === undefined || agent === its) return its;
    throw new NexusError('invalid_request', `the session ${session} is one of agent ${its}, not of ${agent}; name one of the two`);
  }

  async function create(caller: McpCaller): Promise<string> {
    const request = { agent: await agentOf(caller), metadata: { startedBy: 'mcp' } };
    return (await sessions.create(caller.principal, request, {})).session.id;
  }

  function sessionOf(caller: McpCaller): Promise<string> {
    if (caller.session !== undefined) return Promise.resolve(caller.session);
    const known = made.get(caller.seat);
    if (known !== undefined) return known;
    const creating = create(caller);
    made.set(caller.seat, creating);
    // One that could not be made is tried again with the next call.
    creating.catch(() => made.delete(caller.seat));
    return creating;
  }

  return {
    agentOf,
    async inSession(caller, work) {
      const sessionId = await sessionOf(caller);
      try {
        return await work(sessionId);
      } catch (error) {
        if (caller.session !== undefined || !(await isGone(caller, sessionId))) throw error;
        made.delete(caller.seat);
        return work(await sessionOf(caller));
      }
    },
  };

  /** Closed or deleted by somebody since it was made. */
  async function isGone({ principal }: McpCaller, sessionId: string): Promise<boolean> {
    try {
      return (await sessions.get(principal, sessionId)).status === 'closed';
    } catch (error) {
      return error instanceof NexusError && error.code === 'not_found';
    }
  }
}
