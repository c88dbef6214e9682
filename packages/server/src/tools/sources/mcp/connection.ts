import type { Client, Transport } from '@modelcontextprotocol/client';
import { cutText, isObject, NexusError, settlesWithin, type Timers } from '#core';
import { capabilitiesOf, listenToServer, type Offers, type OnAsked } from './asked.ts';
import { brokeOffCode } from './egress-fetch.ts';
import { ListedTool } from './pins.ts';
import { withBoundedReplies } from './replies.ts';

export interface McpConnectionOptions {
  /** What messages go over: it bounds what comes back, and goes where it may only. */
  readonly transport: (sdk: typeof import('@modelcontextprotocol/client')) => Transport;
  readonly probeTimeoutMs: number;
  /** It is known to understand the former revision only: the later one is not tried. */
  readonly isFormer?: boolean;
  readonly timers: Pick<Timers, 'after'>;
  readonly version: string;
  /** Of the whole handshake, and of listing. */
  readonly connectTimeoutMs: number;
  readonly maxTools: number;
  /** The server says that its tools are others now. */
  readonly onToolsChanged: () => void;
  /** What it may ask of us in the midst of a call. */
  readonly offers: Offers;
}

/** A conversation with one MCP server. */
export interface McpConnection {
  readonly server: string;
  readonly protocolVersion: string;
  readonly hasResources: boolean;
  readonly hasPrompts: boolean;
  /** Throws `limit_exceeded` for more than may be, and `tool_failed` for what cannot be read. */
  listTools(signal: AbortSignal): Promise<readonly ListedTool[]>;
  listPrompts(signal: AbortSignal): Promise<readonly { readonly name: string; readonly description: string }[]>;
  listResources(signal: AbortSignal): Promise<readonly { readonly uri: string; readonly name: string; readonly description: string }[]>;
  callTool(tool: ListedTool, input: Readonly<Record<string, unknown>>, how: ToolCallOptions): Promise<unknown>;
  readResource(uri: string, how: CallOptions): Promise<unknown>;
  getPrompt(name: string, input: Readonly<Record<string, string>>, how: CallOptions): Promise<unknown>;
  /** True once the other side has ended it. */
  hasEnded(): boolean;
  /** Of a program that is closed: how it ended, and the last that it said of it. */
  lastWords?(): Promise<string>;
  /** Says goodbye, which takes a second at most, and ends what is still under way. */
  close(): Promise<void>;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly onProgress?: (text: string) => void;
}

export interface ToolCallOptions extends CallOptions {
  /** Hears what the server asks in the midst of the call, and answers it. Null where nobody can be asked. */
  readonly onAsked: OnAsked | null;
  /** For a call that ended with the wish for more input: that, and what came with the wish. */
  readonly again?: { readonly inputResponses: Readonly<Record<string, unknown>>; readonly requestState?: string };
}

const goodbyeMs = 1_000;
/** As the SDK has it. */
const endedCode = 'NOT_CONNECTED';
const maxPages = 50;
const maxNamed = 200;
/** Of all tools of a server: they are kept, and told to models. */
const maxListChars = 2_000_000;

/**
 * Speaks to a server in whichever of the protocol's two ages it understands. What a server may ask of its client is offered as far as its
 * definition says, and never roots. Schemas of the server are compiled by nobody here.
 */
export async function connect(options: McpConnectionOptions, signal: AbortSignal): Promise<McpConnection> {
  const sdk = await import('@modelcontextprotocol/client'); // large, and most servers have none
  const { timers, version, connectTimeoutMs, probeTimeoutMs, maxTools, onToolsChanged, offers } = options;
  const giveUp = () => void client.close().catch(() => undefined); // what it was asked ends with it
  const transport = withBoundedReplies(options.transport(sdk), timers, giveUp);
  const client = new sdk.Client(
    { name: 'nexus-agent', version },
    {
      capabilities: capabilitiesOf(offers),
      inputRequired: { autoFulfill: false }, // people take longer than a request may
      versionNegotiation: { mode: 'auto', probe: { timeoutMs: probeTimeoutMs } },
      jsonSchemaValidator: { getValidator: () => (input) => ({ valid: true, data: input as never, errorMessage: undefined }) }, // we check results ourselves
      listChanged: { tools: { autoRefresh: false, debounceMs: 1_000, onChanged: onToolsChanged } },
    },
  );
  client.onerror = () => undefined; // whoever waits for an answer hears of it
  let hasEnded = false;
  client.onclose = () => {
    hasEnded = true;
  };
  const listener = listenToServer(client, offers, giveUp);
  /** Of what has ended before nothing is asked: so much is known. */
  const asks = () => {
    if (hasEnded) throw Object.assign(new Error('the conversation has ended'), { code: endedCode });
  };
  const within = { timeout: connectTimeoutMs, maxTotalTimeout: connectTimeoutMs };
  const closeWith = () => close(client, transport, timers);
  try {
    await client.connect(transport, { ...within, signal, ...(options.isFormer === true ? { prior: { kind: 'legacy' } } : {}) });
  } catch (error) {
    await client.close().catch(() => undefined); // it never came to stand
    throw error;
  }
  const { tools, resources, prompts } = client.getServerCapabilities() ?? {};
  const about = client.getServerVersion();
  const isModern = client.getProtocolEra() === 'modern';

  /** Every page, up to a bound. */
  async function all<Item>(
    page: (cursor: string | undefined) => Promise<{ readonly items: readonly Item[]; readonly nextCursor?: string | undefined }>,
    max: number,
    what: string,
  ): Promise<Item[]> {
    asks();
    const items: Item[] = [];
    let cursor: string | undefined;
    for (let pages = 0; ; pages++) {
      if (pages >= maxPages) throw tooMany(`lists its ${what} on more than ${maxPages} pages`);
      const next = await page(cursor);
      items.push(...next.items.slice(0, max + 1));
      if (items.length > max) throw tooMany(`has more than the ${max} ${what} that are taken`);
      if (next.nextCursor === undefined || next.nextCursor === '') return items;
      cursor = next.nextCursor;
    }
  }

  const params = (cursor: string | undefined) => (cursor === undefined ? {} : { cursor });

  return {
    server: cutText(`${about?.name ?? 'unknown'} ${about?.version ?? ''}`.trim(), 200),
    protocolVersion: client.getNegotiatedProtocolVersion() ?? '',
    hasResources: resources !== undefined,
    hasPrompts: prompts !== undefined,
    async listTools(during) {
      if (tools === undefined) return [];
      const listed = await all(
        async (cursor) => {
          const page = await client.request({ method: 'tools/list', params: params(cursor) }, { ...within, signal: during });
          return { items: page.tools, nextCursor: page.nextCursor };
        },
        maxTools,
        'tools',
      );
      const read = ListedTool.array().safeParse(listed);
      if (!read.success) throw new NexusError('tool_failed', 'the MCP server lists tools that cannot be read', { cause: read.error });
      if (JSON.stringify(read.data).length > maxListChars) throw tooMany(`describes its tools in more than ${maxListChars} characters`);
      return read.data;
    },
    listPrompts: async (during) =>
      prompts === undefined
        ? []
        : all(
            async (cursor) => {
              const page = await client.request({ method: 'prompts/list', params: params(cursor) }, { ...within, signal: during });
              return { items: page.prompts.map(({ name, description = '' }) => ({ name, description })), nextCursor: page.nextCursor };
            },
            maxNamed,
            'prompts',
          ),
    listResources: async (during) =>
      resources === undefined
        ? []
        : all(
            async (cursor) => {
              const page = await client.request({ method: 'resources/list', params: params(cursor) }, { ...within, signal: during });
              return {
                items: page.resources.map(({ uri, name, description = '' }) => ({ uri, name, description })),
                nextCursor: page.nextCursor,
              };
            },
            maxNamed,
            'resources',
          ),
    callTool: ({ name, inputSchema }, input, how) =>
      listener.during(how.onAsked, () =>
        answered(how, asks, (request) =>
          client.callTool(
            {
              ...{ name, arguments: { ...input } },
              ...how.again,
              ...(how.onAsked === null && isModern ? { _meta: { [sdk.CLIENT_CAPABILITIES_META_KEY]: {} } } : {}),
            },
            {
              ...{ ...request, allowInputRequired: true },
              toolDefinition: { name, inputSchema: { ...inputSchema, type: 'object' } },
            },
          ),
        ),
      ),
    readResource: (uri, how) => answered(how, asks, (request) => client.request({ method: 'resources/read', params: { uri } }, request)),
    getPrompt: (name, input, how) =>
      answered(how, asks, (request) => client.request({ method: 'prompts/get', params: { name, arguments: { ...input } } }, request)),
    hasEnded: () => hasEnded,
    close: closeWith,
  };
}

/** Waits for the answer to one request; a stream that ends without one is an end as well. */
async function answered<Result>(
  { signal, timeoutMs, onProgress }: CallOptions,
  asks: () => void,
  send: (request: {
    signal: AbortSignal;
    timeout: number;
    maxTotalTimeout: number;
    onRequestStreamEnd: () => void;
    onprogress?: (progress: { progress: number; total?: number | undefined; message?: string | undefined }) => void;
  }) => Promise<Result>,
): Promise<Result> {
  asks();
  const ended = new AbortController();
  let onEnd: (error: Error) => void = () => undefined;
  const cut = new Promise<never>((_resolve, reject) => {
    onEnd = reject;
  });
  cut.catch(() => undefined); // heard below, if it comes in time
  const request = {
    signal: AbortSignal.any([signal, ended.signal]),
    timeout: timeoutMs,
    maxTotalTimeout: timeoutMs,
    onRequestStreamEnd: () => onEnd(new NexusError('tool_failed', 'the MCP server ended its answer without a result')),
    ...(onProgress === undefined ? {} : { onprogress: (progress: Progress) => onProgress(progressText(progress)) }),
  };
  const answer = send(request);
  answer.catch(() => undefined); // one of the two is enough
  try {
    return await Promise.race([answer, cut]);
  } finally {
    ended.abort();
  }
}

interface Progress {
  readonly progress: number;
  readonly total?: number | undefined;
  readonly message?: string | undefined;
}

function progressText({ progress, total, message }: Progress): string {
  const share = total === undefined ? String(progress) : `${progress}/${total}`;
  return `${cutText(message === undefined ? share : `${share} ${message}`, 1_000)}\n`;
}

async function close(client: Client, transport: Transport, timers: Pick<Timers, 'after'>): Promise<void> {
  if ('terminateSession' in transport && typeof transport.terminateSession === 'function' && transport.sessionId !== undefined)
    await settlesWithin(timers, transport.terminateSession(), goodbyeMs);
  await client.close();
}

/** A bound that a server does not keep to. */
export function tooMany(what: string): NexusError {
  return new NexusError('limit_exceeded', `the MCP server ${what}`, { details: { limit: 'output' } });
}

/** What of an error of the SDK is known about the call. */
export interface McpFailure {
  readonly error: NexusError;
  /** `unsent`: the server has heard nothing; `refused`: it says that it did nothing, or how it failed; `unknown`: it may have done it. */
  readonly outcome: 'unsent' | 'refused' | 'unknown';
  /** It no longer knows the conversation. */
  readonly stale: boolean;
}

/** Told apart by their form: what is thrown may come from any part of the SDK. */
export function failureOf(error: unknown): McpFailure {
  for (let each = error, depth = 0; each instanceof Error && depth < 5; each = each.cause, depth++) {
    if (each instanceof NexusError) return { error: each, outcome: each.name === 'Unreached' ? 'unsent' : 'unknown', stale: false };
  }
  if (!(error instanceof Error)) return unknownFailure('the MCP server failed', error);
  const code: unknown = 'code' in error ? error.code : undefined;
  const data: unknown = 'data' in error ? error.data : undefined;
  const status = isObject(data) && typeof data.status === 'number' ? data.status : undefined;
  const said = cutText(error.message, 1_000);
  if (code === brokeOffCode) return unknownFailure(`the MCP server did not finish its answer: ${said}`, error);
  if (typeof code === 'number') {
    const invalid = code === -32602;
    return {
      error: new NexusError(invalid ? 'tool_input_invalid' : 'tool_failed', `the MCP server answered: ${said}`),
      outcome: 'refused',
      stale: false,
    };
  }
  if (status !== undefined && status >= 300 && status < 500 && status !== 408) {
    const what = status === 401 || status === 403 ? 'does not accept our credentials' : 'refused the request';
    const retryable = status === 429;
    return {
      error: new NexusError('tool_failed', `the MCP server ${what} (HTTP ${status})`, { cause: error, retryable }),
      outcome: 'refused',
      stale: status === 404 || status === 400,
    };
  }
  if (error.name === 'UnauthorizedError')
    return {
      error: new NexusError('tool_failed', 'the MCP server does not accept our credentials', { cause: error }),
      outcome: 'refused',
      stale: false,
    };
  // The program behind it has ended before this call.
  if (code === endedCode)
    return { error: new NexusError('tool_failed', 'the MCP server has ended', { cause: error }), outcome: 'unsent', stale: true };
  if (code === 'UNSUPPORTED_RESULT_TYPE')
    return { error: new NexusError('tool_failed', 'the MCP server asks for input where it may not'), outcome: 'refused', stale: false };
  if (code === 'REQUEST_TIMEOUT') return unknownFailure('the MCP server did not answer in time', error);
  if (code === 'INVALID_RESULT') return unknownFailure('the MCP server answered with something that is no result of this call', error);
  if (status !== undefined) return unknownFailure(`the MCP server failed (HTTP ${status})`, error);
  return unknownFailure('the MCP server sent something that cannot be read, or broke off', error);
}

function unknownFailure(message: string, cause: unknown): McpFailure {
  return { error: new NexusError('tool_failed', message, { cause, details: { reason: 'connection' } }), outcome: 'unknown', stale: false };
}
