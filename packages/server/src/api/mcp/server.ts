import type { ClientCapabilities, RequestMethod, Server, ServerContext } from '@modelcontextprotocol/server';
import type { Problem } from '@nexus-agent/protocol';
import { NexusError, type SecretValues } from '#core';
import type { Sdk } from './sdk.ts';
import type { McpCall, McpCaller, McpHandlers, McpSurface } from './surface.ts';

export interface McpServerParts {
  readonly sdk: Sdk;
  readonly surface: McpSurface;
  /** What no answer may hold. */
  readonly secrets: SecretValues;
  /** How an error is shown; what is none of ours is written to the log. */
  readonly problemOf: (error: unknown) => Problem;
  readonly isClosing: () => boolean;
  /** Counts a call of the caller for as long as it lasts. Throws `rate_limited`. */
  readonly enter: (caller: McpCaller) => () => void;
  /** Whether the client takes what is written as an answer to this request. */
  readonly reads: (request: Request | undefined) => boolean;
}

/** Methods that may do much, and take long: of these a caller has so many under way at most. */
const counted: ReadonlySet<string> = new Set(['tools/call', 'resources/read', 'prompts/get']);

/**
 * One instance of the surface for one caller: of one request, or of one session of a client of before 2026-07-28. Errors of ours are
 * told with their code and as problems; all that goes out is cleaned of secrets.
 */
export function createMcpServer(parts: McpServerParts, caller: McpCaller): Server {
  const { sdk, surface } = parts;
  const { info, instructions, capabilities, handlers, verifyState } = surface;
  const server = new sdk.Server(info, {
    capabilities,
    ...(instructions === undefined ? {} : { instructions }),
    ...(verifyState === undefined ? {} : { requestState: { verify: verifyState } }),
  });
  for (const method of Object.keys(handlers) as (keyof McpHandlers)[]) register(parts, server, method, caller);
  return server;
}

function register<M extends RequestMethod>(parts: McpServerParts, server: Server, method: M, caller: McpCaller): void {
  const handler = parts.surface.handlers[method];
  if (handler === undefined) return;
  server.setRequestHandler(method, async (request, context) => {
    const leave = counted.has(method) ? enterOrRefuse(parts, caller) : () => undefined;
    try {
      const result = await handler(request.params, callOf(parts, server, caller, context));
      return parts.secrets.inData(result);
    } catch (error) {
      throw asProtocolError(parts, error);
    } finally {
      leave();
    }
  });
}

function enterOrRefuse(parts: McpServerParts, caller: McpCaller): () => void {
  try {
    return parts.enter(caller);
  } catch (error) {
    throw asProtocolError(parts, error);
  }
}

function callOf(parts: McpServerParts, server: Server, caller: McpCaller, context: ServerContext): McpCall {
  const { signal, _meta, notify } = context.mcpReq;
  const token = _meta?.progressToken;
  return {
    caller,
    client: clientOf(server),
    signal,
    isClosing: parts.isClosing,
    progress({ progress, message }) {
      if (token === undefined || signal.aborted || !parts.reads(context.http?.req)) return;
      const params = { progressToken: token, progress, message: parts.secrets.inText(message) };
      // One that cannot be told is one that the client left; the signal says so.
      notify({ method: 'notifications/progress', params }).catch(() => undefined);
    },
    context,
  };
}

function clientOf(server: Server): ClientCapabilities {
  return server.getClientCapabilities() ?? {};
}

const ofTheRequest: ReadonlySet<string> = new Set(['invalid_request', 'not_found', 'tool_not_found', 'tool_input_invalid']);

/** What the protocol itself says passes; ours becomes an error of the protocol that carries the problem. */
function asProtocolError({ sdk, problemOf }: McpServerParts, error: unknown): Error {
  if (error instanceof sdk.ProtocolError) return error;
  const problem = problemOf(error);
  const isOfRequest = error instanceof NexusError && ofTheRequest.has(error.code);
  const code = isOfRequest ? sdk.ProtocolErrorCode.InvalidParams : sdk.ProtocolErrorCode.InternalError;
  return new sdk.ProtocolError(code, `${problem.code}: ${problem.detail}`, problem);
}
