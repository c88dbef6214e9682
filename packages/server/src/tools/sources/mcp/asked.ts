import type { Client } from '@modelcontextprotocol/client';
import type { McpServerDefinition } from '@nexus-agent/protocol';
import { askHuman } from '#tools/contract';

/** What a server may ask of its client in the midst of a call. */
export interface Offers {
  readonly elicitation: boolean;
  /** The agent that answers in place of a model. */
  readonly sampling: string | null;
}

/** A request of a server, as it came. */
export interface Asked {
  readonly method: string;
  readonly params: unknown;
  /** Fires when the server takes it back. */
  readonly signal?: AbortSignal;
}

export type OnAsked = (asked: Asked) => Promise<unknown>;

export function offersOf({ elicitation = false, sampling }: Pick<McpServerDefinition, 'elicitation' | 'sampling'>): Offers {
  return { elicitation, sampling: sampling?.agent ?? null };
}

/** The names under which the engine is asked for it. */
export function asksOf({ elicitation, sampling }: Offers): readonly string[] {
  return [...(elicitation ? [askHuman] : []), ...(sampling === null ? [] : [samplingTool(sampling)])];
}

export function samplingTool(agent: string): string {
  return `agent_${agent}`;
}

export function capabilitiesOf({ elicitation, sampling }: Offers) {
  return { ...(elicitation ? { elicitation: { form: {}, url: {} } } : {}), ...(sampling === null ? {} : { sampling: {} }) };
}

/** So many requests of a conversation may be refused: each costs an answer. */
const maxRefusals = 50;

/**
 * Hears the requests of a server of the former revision, which come beside a call. A conversation has one call at a time that may be
 * asked in; outside of it, and where its definition offers nothing, they are refused. `onFlood`: it asks on and on.
 */
export function listenToServer(client: Client, offers: Offers, onFlood: () => void) {
  let listening: OnAsked | null = null;
  let refusals = 0;
  const heard = async (method: string, params: unknown, signal: AbortSignal): Promise<unknown> => {
    try {
      if (listening === null) throw refusedRequest('nothing may be asked but in the midst of a call that a run makes');
      return await listening({ method, params, signal });
    } catch (error) {
      refusals += 1;
      if (refusals === maxRefusals) onFlood();
      throw error;
    }
  };
  // What is given back was made for the method, and the client checks it.
  if (offers.elicitation)
    client.setRequestHandler('elicitation/create', (request, { mcpReq }) => heard(request.method, request.params, mcpReq.signal) as never);
  if (offers.sampling !== null)
    client.setRequestHandler(
      'sampling/createMessage',
      (request, { mcpReq }) => heard(request.method, request.params, mcpReq.signal) as never,
    );
  return {
    /** Does the work, in the midst of which the server may ask. */
    async during<Result>(onAsked: OnAsked | null, work: () => Promise<Result>): Promise<Result> {
      listening = onAsked;
      try {
        return await work();
      } finally {
        listening = null;
      }
    },
  };
}

/** Of JSON-RPC: the request was understood, and is not done. */
const refusedCode = -32_600;

/** What a server is answered with whose request is refused. */
export function refusedRequest(message: string, code = refusedCode): Error {
  return Object.assign(new Error(message), { code });
}
