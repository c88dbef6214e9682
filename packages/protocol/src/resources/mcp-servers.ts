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

const secret = () => z.strictObject({ secret: z.string().min(1).max(64) });
const noSpaces = (max: number) =>
  z.string().regex(new RegExp(`^[\\x21-\\x7e]{1,${max}}$`), { error: `expected at most ${max} visible characters` });

/** How a tenant comes to a token of the server, by the authorization of MCP (OAuth 2.1). */
const McpServerAuth = z
  .strictObject({
    type: z.literal('oauth'),
    grant: z
      .enum(['authorization_code', 'client_credentials'])
      .optional()
      .describe(
        '`authorization_code`: a person logs in; `client_credentials`: this server asks by itself, which is meant where `clientSecret` or `privateKey` is given',
      ),
    clientId: noSpaces(2_000)
      .optional()
      .describe('As the authorization server knows us; left out, we register, or are known by our client metadata document'),
    clientSecret: secret().optional().describe('A secret of `mcpClient.secrets`, whose `hosts` name the authorization server'),
    privateKey: secret().optional().describe('A secret of `mcpClient.secrets` that is a key in PEM, for `private_key_jwt`'),
    algorithm: z.enum(['RS256', 'PS256', 'ES256', 'EdDSA']).optional().describe('Of `privateKey`; `RS256` when left out'),
    issuer: noSpaces(2_000).optional().describe('The authorization server that `clientId` belongs to; needed where there is a secret'),
    scopes: z.array(noSpaces(200)).max(50).optional().describe('What is asked for; left out, what the MCP server says that it needs'),
  })
  .superRefine(({ grant, clientId, clientSecret, privateKey, issuer, algorithm }, context) => {
    const wrong = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    const hasSecret = clientSecret !== undefined || privateKey !== undefined;
    if (clientSecret !== undefined && privateKey !== undefined) wrong('privateKey', 'expected either clientSecret or privateKey');
    if (hasSecret && clientId === undefined) wrong('clientId', 'expected the clientId that the secret belongs to');
    if (hasSecret && issuer === undefined) wrong('issuer', 'expected the issuer that the secret is for, such as https://login.example.com');
    if (grant === 'client_credentials' && !hasSecret) wrong('clientSecret', 'client_credentials needs clientSecret or privateKey');
    if (grant === 'authorization_code' && privateKey !== undefined) wrong('privateKey', 'a privateKey is for client_credentials');
    if (algorithm !== undefined && privateKey === undefined) wrong('algorithm', 'expected a privateKey beside it');
  });
export type McpServerAuth = z.infer<typeof McpServerAuth>;

/** Who is asked for a token: a person, or this server by itself. */
export function grantOf({ grant, clientSecret, privateKey }: McpServerAuth): 'authorization_code' | 'client_credentials' {
  return grant ?? (clientSecret === undefined && privateKey === undefined ? 'authorization_code' : 'client_credentials');
}

/** What a server may ask in the midst of a call. */
const mayAsk = {
  elicitation: z
    .boolean()
    .optional()
    .describe('Whether the server may ask people in the midst of a call: its questions are approvals. Not when left out'),
  sampling: z
    .strictObject({ agent: Name.describe('The agent that answers: one of the `subagents` of the agent that calls') })
    .optional()
    .describe('Who answers when the server asks for a model in the midst of a call. Nobody when left out'),
};

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
    auth: McpServerAuth.optional(),
    allow: z.array(z.string().min(1).max(100)).max(100).optional(),
    deny: z.array(z.string().min(1).max(100)).max(100).optional(),
    effects: z.record(z.string().min(1).max(200), effectsClass).optional(),
    trustHints: z.boolean().optional(),
    timeoutMs: z.int().min(100).max(86_400_000).optional(),
    ...mayAsk,
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
    auth: McpServerAuth.optional().describe('OAuth; without it the server is shown what `headers` say'),
    allow: patterns().default(['*']).describe('Tools that are taken, by their names at the server; * stands for any text'),
    deny: patterns().default([]).describe('Tools that are not taken, whatever `allow` says'),
    effects: z
      .record(z.string().min(1).max(200), effectsClass)
      .refine((effects) => Object.keys(effects).length <= 200, { error: 'expected at most 200 tools' })
      .default({})
      .describe('What repeating a call does, by the name of the tool at the server; `once` where nothing is said'),
    trustHints: z.boolean().default(false).describe("Take the server's own word for it that a tool only reads or may be repeated"),
    timeoutMs: z.int().min(100).max(86_400_000).default(60_000).describe('Longest time of one call'),
    ...mayAsk,
  })
  .superRefine(({ auth, transport }, context) => {
    if (auth === undefined) return;
    const wrong = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    if (transport.type !== 'http') wrong(['auth'], 'a program has no OAuth; give it a secret in its env');
    else if (Object.keys(transport.headers).some((name) => name.toLowerCase() === 'authorization'))
      wrong(['transport', 'headers'], 'the header Authorization is what OAuth makes; leave out one of the two');
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

export const McpLoginState = z
  .object({
    state: z.enum(['needed', 'active']).describe('`needed`: its tools fail with `login_required` until a person logs in'),
    since: z.string().nullable(),
    until: z.string().nullable().describe('Null: until it is withdrawn, as it is renewed by itself'),
    scopes: z.string().nullable().describe('What was granted, as the authorization server says'),
  })
  .meta({ id: 'McpLoginState' });
export type McpLoginState = z.infer<typeof McpLoginState>;

/** A login that was begun. */
export const McpLogin = z
  .object({
    address: z.string().describe('What the person opens in a browser'),
    code: z.string().describe('What they type there: only who began the login has it'),
    expiresAt: z.string(),
  })
  .meta({ id: 'McpLogin' });
export type McpLogin = z.infer<typeof McpLogin>;

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
    login: McpLoginState.optional().describe('Of a server with `auth`'),
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
