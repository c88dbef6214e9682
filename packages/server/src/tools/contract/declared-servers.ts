import { type AgentDefinition, DeclaredMcpServer, dictionary, McpServerDefinition, McpServerName } from '@nexus-agent/protocol';
import { canonicalJson, explainIssues, isObject, NexusError, redactText, sha256, summarise } from '#core';
import type { ToolDescriptor } from './descriptor.ts';

type Transport = McpServerDefinition['transport'];
type Option = (typeof options)[number];

/** An MCP server as an agent's definition, or a file of another client, declares it. */
export interface DeclaredServer {
  /** As its tools are called. */
  readonly name: string;
  /** Where it stands, for people. */
  readonly place: string;
  /** With the defaults for what it does not state. */
  readonly definition: McpServerDefinition;
  readonly isDisabled: boolean;
  /** The parts that it states: of the others it takes whatever the server has. */
  readonly stated: readonly (Option | 'readOnly')[];
}

export interface DeclaredServers {
  readonly servers: readonly DeclaredServer[];
  /** What was passed over, as sentences. */
  readonly notes: readonly string[];
}

const options = ['auth', 'allow', 'deny', 'effects', 'trustHints', 'timeoutMs', 'elicitation', 'sampling'] as const;
const grants = ['autoApprove', 'alwaysAllow'] as const;
const secretVariable = /(api_?key|token|secret|password|credential)/i;
/** `MAX_TOKENS` may be 4096. */
const plainValue = /^(\d{0,9}|true|false)$/i;
const secretHeader = /^(authorization|cookie|.*(api-?key|token|secret|password).*)$/i;
const secretName = /^secret:([A-Za-z0-9_.-]{1,64})$/;
/** Other clients fill these in. */
const placeholder = /\$\{[A-Za-z_][^}]*\}/;
const filledInPaths = /\$\{(env:|input:|workspaceFolder|userHome|[A-Z_][A-Z0-9_]*(:-[^}]*)?\})/;

/** True for a variable of a program whose value should be the name of a secret. */
export function holdsSecret(variable: string, value: string): boolean {
  return secretVariable.test(variable) && !plainValue.test(value);
}

/** True for a header that is taken by the name of a secret only. */
export function isSecretHeader(name: string): boolean {
  return secretHeader.test(name);
}

/**
 * The servers under `mcpServers` as people paste them. Throws `invalid_request` that says where and what would be right, and repeats no value
 * that may be a secret.
 */
export function readDeclaredServers(declared: unknown): DeclaredServers {
  if (declared === undefined) return { servers: [], notes: [] };
  if (!isObject(declared)) throw invalid('mcpServers: expected { name: { command: … } } or { name: { url: … } }');
  const notes: string[] = [];
  const places = new Map<string, string>();
  const servers = Object.entries(declared).map(([given, value]): DeclaredServer => {
    const place = `mcpServers.${given}`;
    const name = McpServerName.safeParse(given.toLowerCase().replaceAll(/[_ .]/g, '-'));
    if (!name.success) throw invalid(`${place}: expected a name of at most 31 letters, digits or -, which begins with a letter`);
    const other = places.get(name.data);
    if (other !== undefined) throw invalid(`${place} and ${other} are both called ${name.data} here; give one another name`);
    places.set(name.data, place);
    const read = DeclaredMcpServer.safeParse(value);
    if (!read.success) {
      const secret = (path: string) => /^(env|headers)\b/.test(path);
      throw invalid(
        explainIssues(read.error, DeclaredMcpServer, value, { secret })
          .map(({ path, message }) => `${path === '' ? place : `${place}.${path}`}: ${message}`)
          .slice(0, 5)
          .join('; '),
      );
    }
    for (const key of grants)
      if (!isNothing(read.data[key])) notes.push(`${place}.${key} grants nothing here: policy decides each call (policy.allow)`);
    return { name: name.data, place, ...definitionOf(read.data, place) };
  });
  return { servers, notes };
}

function definitionOf(server: DeclaredMcpServer, place: string): Pick<DeclaredServer, 'definition' | 'isDisabled' | 'stated'> {
  if (server.timeout !== undefined)
    throw invalid(`${place}.timeout is in seconds for some clients and in milliseconds for others; write timeoutMs`);
  const definition = { transport: transportOf(server, place), ...statedOf(server) };
  const whole = McpServerDefinition.safeParse(definition);
  if (!whole.success)
    throw invalid(`${place}: ${summarise(explainIssues(whole.error, McpServerDefinition, definition, { secret: () => true }))}`);
  return {
    definition: whole.data,
    isDisabled: server.disabled === true,
    stated: [
      ...options.filter((option) => server[option] !== undefined),
      ...(server.readOnly === undefined ? [] : (['readOnly'] as const)),
    ],
  };
}

function statedOf(server: DeclaredMcpServer): Partial<Pick<DeclaredMcpServer, Option>> {
  return Object.fromEntries(options.flatMap((option) => (server[option] === undefined ? [] : [[option, server[option]]])));
}

function transportOf({ type, command, args = [], env = {}, cwd, readOnly, url, headers = {} }: DeclaredMcpServer, place: string): unknown {
  if ((command === undefined) === (url === undefined)) throw invalid(`${place}: give either command or url`);
  if (type === 'sse') throw invalid(`${place}: servers of type sse are not spoken to; most have streamable HTTP at another url`);
  if ((type === 'stdio') !== (command !== undefined) && type !== undefined)
    throw invalid(`${place}: type ${type} goes with ${type === 'stdio' ? 'command' : 'url'}; leave it out, or give that`);
  if (url !== undefined) {
    const alien = { command, args: args[0], env: Object.keys(env)[0], cwd, readOnly };
    const foreign = Object.entries(alien).find(([, value]) => value !== undefined)?.[0];
    if (foreign !== undefined) throw invalid(`${place}.${foreign} is for programs, and this server has a url`);
    requirePlain(url, `${place}.url`);
    return { type: 'http', url, headers: namedValues(headers, `${place}.headers`, (name) => isSecretHeader(name)) };
  }
  if (Object.keys(headers).length > 0) throw invalid(`${place}.headers are for servers with a url; a program is given env`);
  for (const [index, arg] of args.entries()) requirePlain(arg, `${place}.args[${index}]`);
  requirePlain(command ?? '', `${place}.command`);
  requirePlain(cwd ?? '', `${place}.cwd`);
  return {
    type: 'stdio',
    command,
    args,
    env: namedValues(env, `${place}.env`, holdsSecret),
    ...(cwd === undefined ? {} : { cwd }),
    ...(readOnly === undefined ? {} : { readOnly }),
  };
}

function namedValues(
  values: NonNullable<DeclaredMcpServer['env']>,
  place: string,
  isSecret: (name: string, value: string) => boolean,
): Record<string, string | { readonly secret: string }> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      if (typeof value === 'object') return [name, value];
      if (typeof value === 'number' && !Number.isSafeInteger(value) && !/^-?\d+\.\d{1,15}$/.test(String(value)))
        throw invalid(`${place}.${name}: write this number in quotes, or it is not what you wrote`);
      const text = String(value);
      const secret = secretName.exec(text)?.[1];
      if (secret !== undefined) return [name, { secret }];
      if (placeholder.test(text))
        throw invalid(
          `${place}.${name}: nothing is filled in here for \${…}; write the value, or "secret:NAME" for a secret of mcpClient.secrets`,
        );
      if (isSecret(name, text) || redactText(`${name}=${text}`) !== `${name}=${text}`)
        throw invalid(
          `${place}.${name}: holds a secret in plain words; configure it under mcpClient.secrets, and write "secret:NAME" or { secret: NAME }`,
        );
      return [name, text];
    }),
  );
}

/** Neither a secret nor what another client would fill in. */
function requirePlain(text: string, place: string): void {
  if (filledInPaths.test(text)) throw invalid(`${place}: nothing is filled in here for \${…}; write the value`);
  const url = URL.parse(text);
  const parameter = [...(url?.searchParams ?? [])].find(([name, value]) => holdsSecret(name, value))?.[0];
  if (redactText(text) !== text || parameter !== undefined || (url !== null && url.password !== ''))
    throw invalid(`${place}: holds a secret in plain words; give it in env or headers, as "secret:NAME" of mcpClient.secrets`);
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === false || (Array.isArray(value) && value.length === 0);
}

/** Of what a server is: where, or which program with what it is given; not what of the machine it may read, nor which of its tools are taken. */
export function serverMark({ transport }: Pick<McpServerDefinition, 'transport'>): string {
  return sha256(canonicalJson(withoutGrants(transport))).slice(0, 16);
}

function withoutGrants(transport: Transport): unknown {
  if (transport.type === 'http') return transport;
  const { readOnly: _, ...place } = transport;
  return place;
}

/** Whether a tenant's server is the one that is declared: what the declaration does not state is the tenant's own business. */
export function isAsDeclared({ definition, stated }: DeclaredServer, kept: McpServerDefinition): boolean {
  if (serverMark(definition) !== serverMark(kept)) return false;
  return stated.every((part) => canonicalJson(statedParts[part](definition)) === canonicalJson(statedParts[part](kept)));
}

const statedParts = dictionary<Record<DeclaredServer['stated'][number], (definition: McpServerDefinition) => unknown>>({
  auth: ({ auth = null }) => auth,
  allow: ({ allow }) => allow,
  deny: ({ deny }) => deny,
  effects: ({ effects }) => effects,
  trustHints: ({ trustHints }) => trustHints,
  timeoutMs: ({ timeoutMs }) => timeoutMs,
  elicitation: ({ elicitation = false }) => elicitation,
  sampling: ({ sampling = null }) => sampling,
  readOnly: ({ transport }) => (transport.type === 'stdio' ? transport.readOnly : []),
});

type Offering = Pick<AgentDefinition, 'tools' | 'mcpServers'>;

/** Before the name of a server, in the source of its tools. */
const sourcePrefix = 'mcp:';
const marks = new WeakMap<object, ReadonlyMap<string, string | null>>();
const none: ReadonlyMap<string, string | null> = new Map();

/** The marks of the servers that a definition declares, by their names; null of one that is disabled. */
function marksOf({ mcpServers }: Offering): ReadonlyMap<string, string | null> {
  if (mcpServers === undefined) return none;
  let found = marks.get(mcpServers);
  if (found === undefined) {
    const { servers } = readDeclaredServers(mcpServers);
    found = new Map(servers.map(({ name, definition, isDisabled }) => [name, isDisabled ? null : serverMark(definition)]));
    marks.set(mcpServers, found);
  }
  return found;
}

/** True for the name of a tool, or a pattern, that can only be of this server. */
function isOfServer(pattern: string, server: string): boolean {
  return pattern.startsWith(`${server}_`) || pattern.startsWith(`mcp_${server}_`);
}

/** Whether the name of a tool would be one of a server that the definition declares. */
export function isOfDeclaredServer(definition: Offering, tool: string): boolean {
  return [...marksOf(definition).keys()].some((server) => isOfServer(tool, server));
}

/**
 * What the definition of an agent says of a tool: `named`, it is offered where a pattern names it; `offered`, without being named;
 * `left-out`, whatever names it: the server is another than the agent declares.
 */
export function offerOf(definition: Offering, { source, serverMark: mark }: Pick<ToolDescriptor, 'source' | 'serverMark'>) {
  const server = source?.startsWith(sourcePrefix) === true ? source.slice(sourcePrefix.length) : '';
  const declared = marksOf(definition).get(server);
  if (declared === undefined) return 'named';
  if (declared === null || declared !== mark) return 'left-out';
  return definition.tools.some((pattern) => isOfServer(pattern, server)) ? 'named' : 'offered';
}

function invalid(message: string): NexusError {
  return new NexusError('invalid_request', message);
}
