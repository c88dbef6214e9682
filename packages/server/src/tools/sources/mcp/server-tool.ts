import { NexusError } from '#core';
import { serverMark, type Tool, type ToolContext, type ToolResult, type ToolTier } from '#tools/contract';
import { asksOf, offersOf } from './asked.ts';
import { type AskingCallParts, callThatAsks } from './asking-call.ts';
import { failureOf, type McpConnection, type ToolCallOptions } from './connection.ts';
import type { KeptServer } from './content.ts';
import type { TalkOptions } from './conversation.ts';
import type { ListedTool } from './pins.ts';
import type { Destination } from './reach.ts';
import { mcpResult, promptText, resourceText } from './result-text.ts';
import type { TakenTool } from './taken-tools.ts';
import type { WantedRules } from './wanted.ts';

/** A conversation for one call. */
type Converse = <Result>(signal: AbortSignal, work: (connection: McpConnection, isFresh: boolean) => Promise<Result>) => Promise<Result>;

export interface ServerToolOptions {
  /** Null: it never may ask. */
  readonly asking: AskingCallParts | null;
  readonly isGranted: WantedRules['isGranted'];
  readonly server: KeptServer;
  readonly destination: Destination;
  readonly converse: Converse;
  /** The server has forgotten the conversation. */
  readonly drop: (connection: McpConnection) => void;
  readonly tier: ToolTier;
  /** Whether the server still lists the tool as it was approved, by what it last listed over this connection. */
  readonly isAsApproved: (connection: McpConnection, tool: ListedTool) => boolean;
}

/** The tools of a server that were approved, and what reads its resources and prompts. */
export function toolsOfServer(options: ServerToolOptions, taken: readonly TakenTool[]): Tool[] {
  const { server, isAsApproved } = options;
  const isProgram = server.definition.transport.type === 'stdio';
  const offers = offersOf(server.definition);
  const asks = asksOf(offers);
  const tool = (content: Pick<Tool, 'name' | 'description' | 'inputSchema' | 'effects' | 'asks'>, ask: Ask): Tool => ({
    ...content,
    source: `mcp:${server.name}`,
    serverMark: serverMark(server.definition),
    tier: options.tier,
    permissions: isProgram ? ['process.run'] : ['net.egress'],
    timeoutMs: server.definition.timeoutMs,
    async execute(input, context) {
      if (context.resume !== undefined) throw mayAskNoMore(server.name, content);
      await authorize(options.destination, context);
      const how = { timeoutMs: server.definition.timeoutMs + slackMs, onProgress: context.onOutput, signal: context.signal };
      return call(options, content, (connection) => ask(connection, input, { ...how, onAsked: null }), context.signal);
    },
  });
  const reading = server.definition.trustHints ? 'none' : 'once';
  const own = taken.map(({ name, effects, listed }): Tool => {
    const description = listed.description ?? listed.title ?? listed.annotations?.title ?? '';
    const content = { name, effects, description, inputSchema: listed.inputSchema, ...(asks.length === 0 ? {} : { asks }) };
    const ask = (connection: McpConnection, input: Record<string, unknown>, how: ToolCallOptions) => {
      if (isAsApproved(connection, listed)) return connection.callTool(listed, input, how);
      const message = `the MCP server ${server.name} has changed ${name} since a person approved it; it must be approved again`;
      throw new NexusError('conflict', message);
    };
    const plain = tool(content, async (connection, input, how) => mcpResult(await ask(connection, input, how)));
    const { asking } = options;
    if (asks.length === 0 || asking === null) return plain;
    return {
      ...plain,
      async execute(input, context) {
        const offered = context.calling?.offered ?? [];
        if (offered.length === 0 && context.resume === undefined) return plain.execute(input, context); // nobody could be asked
        await authorize(options.destination, context);
        const rules = { server: server.name, tool: name, isGranted: options.isGranted, offers, offered };
        const talk = ({ signal, ...how }: TalkOptions) =>
          call(options, content, (connection) => ask(connection, input, { ...how, signal, timeoutMs: unboundedMs }), signal);
        return callThatAsks(asking, { tool: content, rules, timeoutMs: server.definition.timeoutMs, talk }, context);
      },
    };
  });
  const resources = [
    tool(
      {
        name: `mcp_${server.name}_list_resources`,
        description: `Lists the resources that the MCP server ${server.name} has, with their URIs.`,
        inputSchema: nothing,
        effects: reading,
      },
      async (connection, _input, { signal }) => ({ type: 'ok', output: await connection.listResources(signal) }),
    ),
    tool(
      {
        name: `mcp_${server.name}_read_resource`,
        description: `Reads a resource of the MCP server ${server.name} by its URI.`,
        inputSchema: {
          type: 'object',
          properties: { uri: { type: 'string', maxLength: 4_000 } },
          required: ['uri'],
          additionalProperties: false,
        },
        effects: reading,
      },
      async (connection, { uri }, how) => resourceText(await connection.readResource(String(uri), how)),
    ),
  ];
  const prompts = [
    tool(
      {
        name: `mcp_${server.name}_get_prompt`,
        description: `Gives the messages of a prompt that the MCP server ${server.name} has; without a name, lists its prompts.`,
        inputSchema: {
          type: 'object',
          properties: {
            name: { type: 'string', maxLength: 500 },
            arguments: { type: 'object', additionalProperties: { type: 'string', maxLength: 100_000 }, maxProperties: 50 },
          },
          additionalProperties: false,
        },
        effects: reading,
      },
      async (connection, { name, arguments: given = {} }, how) =>
        name === undefined
          ? { type: 'ok', output: await connection.listPrompts(how.signal) }
          : promptText(await connection.getPrompt(String(name), given as Record<string, string>, how)), // checked by the schema
    ),
  ];
  return [...own, ...(server.offers.resources ? resources : []), ...(server.offers.prompts ? prompts : [])];
}

const nothing = { type: 'object', properties: {}, additionalProperties: false };

type Ask = (connection: McpConnection, input: Record<string, unknown>, how: ToolCallOptions) => Promise<ToolResult>;

async function call<Result>(
  { converse, drop }: ServerToolOptions,
  { name, effects }: Pick<Tool, 'name' | 'effects'>,
  ask: (connection: McpConnection) => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  let isAsked = false;
  let mayRepeat = true;
  for (;;) {
    let repeats = false;
    try {
      return await converse(signal, async (connection, isFresh) => {
        try {
          isAsked = true;
          return await ask(connection);
        } catch (error) {
          // A server that was started anew knows nothing of a conversation, and says so before it does anything.
          const { stale } = failureOf(error);
          if (stale) drop(connection);
          repeats = stale && !isFresh && mayRepeat;
          throw error;
        }
      });
    } catch (error) {
      if (signal.aborted) throw error;
      if (repeats) {
        mayRepeat = false;
        continue;
      }
      const failure = failureOf(error);
      if (!isAsked || failure.outcome !== 'unknown' || effects !== 'once' || isOurs(failure.error)) throw failure.error;
      throw new NexusError('tool_outcome_unknown', `${failure.error.message}; whether ${name} took effect is not known`, {
        details: { cause: failure.error.code },
        cause: failure.error,
      });
    }
  }
}

/** Of a call that was suspended when its definition said otherwise: nothing of it is done again. */
function mayAskNoMore(server: string, { name, effects }: Pick<Tool, 'name' | 'effects'>): NexusError {
  const message = `the definition of the MCP server ${server} does not let it ask any more, so that the call of ${name} cannot go on`;
  return effects === 'once'
    ? new NexusError('tool_outcome_unknown', `${message}; whether it took effect is not known`, { details: { cause: 'conflict' } })
    : new NexusError('conflict', message);
}

/** A call ends by its own time; this is for what would wait for ever. */
const slackMs = 5_000;
/** For a call that may wait for people: its own time is counted by whoever goes on with it. */
const unboundedMs = 2 ** 31 - 1;
/** Refusals of ours, before anything was sent. */
const ours = new Set([
  'conflict',
  'rate_limited',
  'unavailable',
  'policy_denied',
  'invalid_request',
  'address_not_allowed',
  'login_required',
]);

function isOurs({ code }: NexusError): boolean {
  return ours.has(code);
}

async function authorize({ host, context: about, secrets }: Destination, context: ToolContext): Promise<void> {
  const wanted = [
    ...(about === null ? [] : [{ action: 'net.egress', resource: host, context: about } as const]),
    ...secrets.map(({ name, host: to }) => ({ action: 'secret.use', resource: name, context: { host: to } }) as const),
  ] as const;
  for (const request of wanted) {
    const verdict = await context.authorize(request);
    if (verdict.allowed) continue;
    const { code, message, details = {} } = verdict.error;
    throw new NexusError(code, message, { details });
  }
}
