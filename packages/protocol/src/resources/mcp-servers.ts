import { z } from 'zod';
import { effectsClass } from '../events.ts';
import { Name } from './names.ts';

/** No `_`: what stands before the first one in the name of a tool says whose tool it is. */
export const McpServerName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,30}$/, { error: 'expected a lower-case name of at most 31 letters, digits or -' });

/** A value, or the name of a secret that the operator has configured under `mcpClient.secrets`. */
const HeaderValue = z.union([z.string().max(4_000), z.strictObject({ secret: z.string().min(1).max(64) })]);

const HttpTransport = z.strictObject({
  type: z.literal('http'),
  url: z.string().min(1).max(2_000).describe('Where the server speaks streamable HTTP'),
  headers: z
    .record(z.string().regex(/^[A-Za-z0-9-]{1,64}$/, { error: 'expected the name of a header' }), HeaderValue)
    .refine((headers) => Object.keys(headers).length <= 20, { error: 'expected at most 20 headers' })
    .default({}),
});

const plainText = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[^\0]*$/, { error: 'expected text without the character 0' });
const absolutePath = () => plainText(1_000).regex(/^\//, { error: 'expected an absolute path' });

const StdioTransport = z.strictObject({
  type: z.literal('stdio'),
  command: plainText(1_000).min(1).describe('The program: a path, or a name that lies in `/usr/bin` and its like. No shell reads it'),
  args: z.array(plainText(10_000)).max(100).default([]),
  env: z
    .record(
      z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,99}$/, { error: 'expected the name of a variable' }),
      z.union([plainText(4_000), HeaderValue.options[1]]),
    )
    .refine((env) => Object.keys(env).length <= 50, { error: 'expected at most 50 variables' })
    .default({})
    .describe('All that it finds in its environment beside `PATH`, `HOME`, `TMPDIR`, `LANG` and `USER`'),
  cwd: absolutePath().optional().describe('Where it starts, as it sees its files; `/tmp` when left out'),
  readOnly: z
    .array(absolutePath())
    .max(20)
    .default([])
    .describe('Files and folders of the machine that it may read, each within one of `mcpClient.stdio.readOnly`'),
});

/**
 * A server as other clients write it, beside what only this platform has. What of it cannot be kept is refused when the agent is stored, with the
 * reason; nothing of it grants a call.
 */
export const DeclaredMcpServer = z
  .strictObject({
    type: z.enum(['stdio', 'http', 'streamable-http', 'streamableHttp', 'sse']).optional(),
    command: StdioTransport.shape.command.optional(),
    args: z.array(plainText(10_000)).max(100).optional(),
    env: z
      .record(z.string().max(100), z.union([plainText(4_000), z.number(), z.boolean(), HeaderValue.options[1]]))
      .optional()
      .describe('Values, or names of secrets of `mcpClient.secrets`, as `secret:NAME` or `{ secret: NAME }`'),
    cwd: absolutePath().optional(),
    readOnly: z.array(absolutePath()).max(20).optional().describe('What of the machine its program may read'),
    url: HttpTransport.shape.url.optional(),
    headers: z.record(z.string().max(100), HeaderValue).optional().describe('As `env`'),
    allow: z.array(z.string().min(1).max(100)).max(100).optional(),
    deny: z.array(z.string().min(1).max(100)).max(100).optional(),
    effects: z.record(z.string().min(1).max(200), effectsClass).optional(),
    trustHints: z.boolean().optional(),
    timeoutMs: z.int().min(100).max(86_400_000).optional(),
    disabled: z.boolean().optional().describe('It is not added, and nothing of it is offered'),
    description: z.string().max(2_000).optional().describe('For people'),
    timeout: z.number().optional().describe('Refused, as clients do not agree on its unit: `timeoutMs`'),
    autoApprove: z.unknown().optional().describe('Grants nothing here: policy decides each call'),
    alwaysAllow: z.unknown().optional().describe('Grants nothing here: policy decides each call'),
  })
  .meta({ id: 'DeclaredMcpServer' });
export type DeclaredMcpServer = z.infer<typeof DeclaredMcpServer>;

export const DeclaredMcpServers = z
  .record(z.string().min(1).max(100), DeclaredMcpServer)
  .refine((servers) => Object.keys(servers).length <= 20, { error: 'expected at most 20 MCP servers' });

const patterns = () => z.array(z.string().min(1).max(100)).max(100);

/** An MCP server that a tenant takes tools from. */
export const McpServerDefinition = z
  .strictObject({
    transport: z.discriminatedUnion('type', [HttpTransport, StdioTransport]),
    allow: patterns().default(['*']).describe('Tools that are taken, by their names at the server; * stands for any text'),
    deny: patterns().default([]).describe('Tools that are not taken, whatever `allow` says'),
    effects: z
      .record(z.string().min(1).max(200), effectsClass)
      .refine((effects) => Object.keys(effects).length <= 200, { error: 'expected at most 200 tools' })
      .default({})
      .describe('What repeating a call does, by the name of the tool at the server; `once` where nothing is said'),
    trustHints: z.boolean().default(false).describe("Take the server's own word for it that a tool only reads or may be repeated"),
    timeoutMs: z.int().min(100).max(86_400_000).default(60_000).describe('Longest time of one call'),
    elicitation: z
      .boolean()
      .optional()
      .describe('Whether the server may ask people in the midst of a call: its questions are approvals. Not when left out'),
    sampling: z
      .strictObject({ agent: Name.describe('The agent that answers: one of the `subagents` of the agent that calls') })
      .optional()
      .describe('Who answers when the server asks for a model in the midst of a call. Nobody when left out'),
  })
  .meta({ id: 'McpServerDefinition' });
export type McpServerDefinition = z.infer<typeof McpServerDefinition>;

/**
 * Of one tool: `ready`, offered to agents; `changed`, `new` and `gone`, what the server lists is not what was approved; `refused`, it cannot
 * be taken; `denied`, the definition leaves it out.
 */
const McpToolState = z.enum(['ready', 'changed', 'new', 'gone', 'refused', 'denied']);

const McpServerTool = z
  .object({
    tool: z.string().describe('Its name at the server'),
    name: z.string().describe('Its name here'),
    state: McpToolState,
    effects: effectsClass,
    description: z.string(),
    why: z.string().optional().describe('Why it is refused'),
  })
  .meta({ id: 'McpServerTool' });
export type McpServerTool = z.infer<typeof McpServerTool>;

export const McpServer = z
  .object({
    name: z.string(),
    version: z.string(),
    createdAt: z.string(),
    definition: McpServerDefinition,
    state: z
      .enum(['ready', 'unapproved', 'changed'])
      .describe('`unapproved`: its tools were never seen; `changed`: it lists others than were approved'),
    tools: z.array(McpServerTool),
    addedWith: z.string().optional().describe('The agent whose definition it was added with'),
    declaredBy: z.array(z.string()).optional().describe('In lists: agents whose current definitions declare a server of this name'),
  })
  .meta({ id: 'McpServer' });
export type McpServer = z.infer<typeof McpServer>;

/** What a server says of itself, asked now. */
export const McpServerInspection = McpServer.extend({
  live: z
    .object({
      server: z.string().describe('Its own name and version'),
      protocolVersion: z.string(),
      fingerprint: z.string().describe('Of all tools as it lists them now; an approval names it'),
      prompts: z.array(z.string()),
      resources: z.array(z.string()),
    })
    .nullable(),
  fault: z.string().optional().describe('Why it could not be asked'),
}).meta({ id: 'McpServerInspection' });
export type McpServerInspection = z.infer<typeof McpServerInspection>;

export const McpApproveRequest = z
  .strictObject({
    fingerprint: z.string().max(100).optional().describe('Approve only this list of tools, as an inspection showed it'),
  })
  .meta({ id: 'McpApproveRequest' });
export type McpApproveRequest = z.infer<typeof McpApproveRequest>;
