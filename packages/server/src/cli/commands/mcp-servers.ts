import type { EffectsClass, McpServer, McpServerInspection, McpServerTool } from '@nexus-agent/protocol';
import { InvalidArgumentError } from 'commander';
import { NexusError } from '#core';
import { type CliContext, noSuchFile, withClient } from '../context.ts';
import { brief, table } from '../style.ts';
import { type Registrar, wholeNumber, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';
import { type AuthFlags, authOf, loginLine, mcpLoginCommands, withAuthFlags } from './mcp-logins.ts';

/** `nexus mcp`: the MCP servers that tools come from. */
export function mcpServerCommands({ program, action }: Registrar): void {
  const mcp = program.commands.find((command) => command.name() === 'mcp') ?? program.command('mcp').description('MCP servers');
  withPages(mcp.command('list').description('list the MCP servers that tools come from')).action(action(list));
  withAuthFlags(mcp.command('add'))
    .description('add or change an MCP server; the tools that it lists now are approved')
    .argument('<name>', 'what its tools are called after')
    .argument('<place...>', 'where it speaks streamable HTTP; or after --, the program that the server starts in a jail, and its arguments')
    .option('--env <name=value>', 'a variable of the program; may be repeated', collect(pair), {})
    .option('--env-secret <name=secret>', 'a variable whose value is this secret of mcpClient.secrets; may be repeated', collect(pair), {})
    .option(
      '--read-only <path>',
      'what of the machine the program may read; may be repeated',
      (path: string, before: readonly string[]) => [...before, path],
      [],
    )
    .option('--cwd <path>', 'where the program starts')
    .option('--header <name=value>', 'sent with each request; may be repeated', collect(pair), {})
    .option('--secret <header=name>', 'a header whose value is this secret of mcpClient.secrets; may be repeated', collect(pair), {})
    .option('--allow <pattern...>', 'tools that are taken; default: all')
    .option('--deny <pattern...>', 'tools that are not')
    .option('--effects <tool=class>', 'none, idempotent or once, the default; may be repeated', collect(effect), {})
    .option('--trust-hints', 'take its word for which tools only read or may be repeated')
    .option('--timeout <ms>', 'longest time of one call', wholeNumber)
    .option('--elicitation', 'let it ask people in the midst of a call: its questions are approvals')
    .option('--sampling <agent>', 'the agent that answers when it asks for a model')
    .action(action(add));
  mcp
    .command('import')
    .description('add all servers of a file of the form { "mcpServers": … }, as other clients have it, or of an agent')
    .argument('<file>')
    .option(
      '--read-only <path>',
      'what of the machine their programs may read; may be repeated',
      (path: string, before: readonly string[]) => [...before, path],
      [],
    )
    .action(action(importFile));
  mcp.command('inspect').description('show a server, and ask it what it offers now').argument('<name>').action(action(inspect));
  mcp
    .command('approve')
    .description('approve the tools of a server as it lists them now')
    .argument('<name>')
    .option('--fingerprint <fingerprint>', 'only if it still lists what an inspection showed')
    .action(action(approve));
  mcp.command('remove').description('remove a server').argument('<name>').action(action(remove));
  mcpLoginCommands(mcp, { action });
}

interface AddFlags extends AuthFlags {
  readonly env: Readonly<Record<string, string>>;
  readonly envSecret: Readonly<Record<string, string>>;
  readonly readOnly: string[];
  readonly cwd?: string;
  readonly header: Readonly<Record<string, string>>;
  readonly secret: Readonly<Record<string, string>>;
  readonly allow?: string[];
  readonly deny?: string[];
  readonly effects: Readonly<Record<string, EffectsClass>>;
  readonly trustHints?: boolean;
  readonly timeout?: number;
  readonly elicitation?: boolean;
  readonly sampling?: string;
}

async function list(context: CliContext, options: PageFlags): Promise<undefined> {
  const page = await withClient(context, (client) => client.mcpServers.list(pageFlags(options)));
  printPage(context, page, ['NAME', 'STATE', 'TOOLS', 'AGENTS', 'ADDRESS'], (server) => [
    server.name,
    server.login?.state === 'needed' ? 'needs login' : server.state,
    String(server.tools.filter(({ state }) => state === 'ready').length),
    brief(declarersOf(server), 40),
    brief(shownPlace(server), 80),
  ]);
}

async function add(context: CliContext, flags: AddFlags, name = '', ...place: readonly (string | readonly string[])[]): Promise<undefined> {
  const found = await withClient(context, (client) =>
    client.mcpServers.put(name, {
      transport: transportOf(flags, place.flat()),
      ...authOf(flags),
      ...(flags.allow === undefined ? {} : { allow: flags.allow }),
      ...(flags.deny === undefined ? {} : { deny: flags.deny }),
      ...(flags.trustHints === true ? { trustHints: true } : {}),
      ...(flags.timeout === undefined ? {} : { timeoutMs: flags.timeout }),
      effects: { ...flags.effects },
      ...(flags.elicitation === true ? { elicitation: true } : {}),
      ...(flags.sampling === undefined ? {} : { sampling: { agent: flags.sampling } }),
    }),
  );
  show(context, found);
}

function transportOf({ header, secret, env, envSecret, readOnly, cwd }: AddFlags, [first = '', ...args]: readonly string[]) {
  if (args.length === 0 && /^https?:/i.test(first)) return { type: 'http', url: first, headers: { ...header, ...named(secret) } } as const;
  if (args.length === 0 && withoutScheme.test(first))
    throw new NexusError('invalid_request', `${first} is no address: write https://${first}, or -- before it if it is a program`);
  return {
    type: 'stdio',
    command: first,
    args,
    env: { ...env, ...named(envSecret) },
    readOnly,
    ...(cwd === undefined ? {} : { cwd }),
  } as const;
}

/** A host with dots, and a path of it. */
const withoutScheme = /^[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?\//i;

function named(secrets: Readonly<Record<string, string>>): Record<string, { readonly secret: string }> {
  return Object.fromEntries(Object.entries(secrets).map(([name, secret]) => [name, { secret }]));
}

async function importFile(context: CliContext, { readOnly }: { readonly readOnly: string[] }, file = ''): Promise<undefined> {
  const text = await context.io.readFile(file);
  if (text === null) throw await noSuchFile(context.io, file, 'file');
  const { parseMcpServers } = await import('#control');
  const { servers, notes } = await parseMcpServers(text);
  for (const note of notes) context.note(`warning: ${note}`);
  for (const { name, place, definition, isDisabled } of servers) {
    if (isDisabled) {
      context.note(`${place} is disabled and was not added`);
      continue;
    }
    const { transport } = definition;
    const granted =
      transport.type === 'stdio' && readOnly.length > 0
        ? { ...transport, readOnly: [...new Set([...transport.readOnly, ...readOnly])] }
        : transport;
    show(context, await withClient(context, (client) => client.mcpServers.put(name, { ...definition, transport: granted })));
  }
}

async function inspect(context: CliContext, _options: object, name = ''): Promise<undefined> {
  show(context, await withClient(context, (client) => client.mcpServers.inspect(name)));
}

async function approve(context: CliContext, { fingerprint }: { fingerprint?: string }, name = ''): Promise<undefined> {
  const request = fingerprint === undefined ? {} : { fingerprint };
  show(context, await withClient(context, (client) => client.mcpServers.approve(name, request)));
}

async function remove(context: CliContext, _options: object, name = ''): Promise<undefined> {
  await withClient(context, (client) => client.mcpServers.delete(name));
  context.print({ name }, () => `${name} is removed`);
}

function show(context: CliContext, found: McpServerInspection): void {
  context.print(
    found,
    () => `${headOf(found)}\n${table(['TOOL', 'NAME', 'STATE', 'EFFECTS', 'DESCRIPTION'], found.tools.map(lineOf), context.out)}`,
  );
  if (found.fault !== undefined) context.note(`${context.err('red', 'not reached:')} ${brief(found.fault, 300)}`);
  if (found.state === 'changed')
    context.note(
      `what has changed is left out until a person approves it: nexus mcp approve ${found.name} --fingerprint ${found.live?.fingerprint ?? '…'}`,
    );
  if (found.state === 'unapproved') context.note(`it has no tools yet; when it can be reached: nexus mcp approve ${found.name}`);
}

function headOf({ name, state, definition, live, login }: McpServer & Pick<McpServerInspection, 'live'>): string {
  const lines = [`${name}: ${state}, at ${shownPlace({ definition })}`];
  if (definition.elicitation === true) lines.push('it may ask people in the midst of a call');
  if (definition.sampling !== undefined) lines.push(`when it asks for a model, the agent ${definition.sampling.agent} answers`);
  if (login !== undefined) lines.push(loginLine(name, login));
  if (live !== null) {
    lines.push(`${live.server}, protocol ${live.protocolVersion}, tools ${live.fingerprint}`);
    if (live.prompts.length > 0) lines.push(brief(`prompts: ${live.prompts.join(', ')}`, 300));
    if (live.resources.length > 0) lines.push(brief(`resources: ${live.resources.join(', ')}`, 300));
  }
  return lines.join('\n');
}

/** Who declares it, or that whoever did so does no more. */
function declarersOf({ declaredBy = [], addedWith }: McpServer): string {
  if (declaredBy.length > 0) return declaredBy.join(' ');
  return addedWith === undefined ? '' : `none now (${addedWith})`;
}

function shownPlace({ definition: { transport } }: Pick<McpServer, 'definition'>): string {
  return transport.type === 'http' ? transport.url : [transport.command, ...transport.args].join(' ');
}

function lineOf({ tool, name, state, effects, description, why }: McpServerTool): string[] {
  return [brief(tool, 40), name, state, effects, brief(why ?? description, 60)];
}

/** Gathers an option that is given several times. */
function collect<Value>(read: (text: string) => readonly [string, Value]) {
  return (text: string, before: Readonly<Record<string, Value>>): Record<string, Value> => ({
    ...before,
    ...Object.fromEntries([read(text)]),
  });
}

function pair(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('expected name=value.');
  return [text.slice(0, at), text.slice(at + 1)];
}

function effect(text: string): readonly [string, EffectsClass] {
  const [tool, effects] = pair(text);
  if (effects !== 'none' && effects !== 'idempotent' && effects !== 'once')
    throw new InvalidArgumentError('expected tool=none, tool=idempotent or tool=once.');
  return [tool, effects];
}
