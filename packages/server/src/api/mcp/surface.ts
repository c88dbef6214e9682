import type {
  ClientCapabilities,
  HandlerResultTypeMap,
  Implementation,
  RequestMethod,
  RequestTypeMap,
  ServerCapabilities,
  ServerContext,
} from '@modelcontextprotocol/server';
import type { Principal } from '#identity';

/** Who asks over MCP, and what the address says that it was given. */
export interface McpCaller {
  readonly principal: Principal;
  /** The agent whose tools it is offered, and the Nexus session that its tools run in, where the address names them. */
  readonly agent?: string;
  readonly session?: string;
  /** The same for all requests of one MCP session; where there are no MCP sessions, for all of one principal to one address. */
  readonly seat: string;
}

/** One request while it is answered. */
export interface McpCall {
  readonly caller: McpCaller;
  /** What the client said that it can do: with its request, or as its session began. */
  readonly client: ClientCapabilities;
  /** Aborted when the client cancels or the session ends, and at shutdown: see `isClosing`. */
  readonly signal: AbortSignal;
  /** Whether it is this server that ends, so that what the client wants done goes on elsewhere. */
  isClosing(): boolean;
  /** Told to the client if it asked for it, and dropped while it does not read. `progress` must grow. */
  progress(step: { readonly progress: number; readonly message: string }): void;
  /** All that the SDK knows of the request. */
  readonly context: ServerContext;
}

export type McpHandlers = {
  readonly [M in RequestMethod]?: (params: RequestTypeMap[M]['params'], call: McpCall) => Promise<HandlerResultTypeMap[M]>;
};

/** What a server offers over MCP, in whichever revision of the protocol the client speaks: stateless, one handler for each method. */
export interface McpSurface {
  readonly info: Implementation;
  readonly instructions?: string;
  readonly capabilities: ServerCapabilities;
  readonly handlers: McpHandlers;
  /** Holds what a client brings back of a call that asked it something; gives what handlers then read of it. Throws when it is not sound. */
  readonly verifyState?: (state: string, context: ServerContext) => unknown;
}
