import type { HttpToolSourceInput, ToolSourceInfo } from '@nexus-agent/protocol';
import type { NexusClient } from '@nexus-agent/sdk';
import { type Command, Option } from 'commander';
import { type CliContext, noSuchFile, ofFile, withClient } from '../context.ts';
import { UsageError } from '../exit-codes.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

/** The kinds that can be put; each has the same calls in the SDK. */
const kinds = ['http'] as const satisfies readonly (keyof NexusClient['toolSources'])[];
type Kind = (typeof kinds)[number];

interface KindFlag {
  readonly kind: Kind;
}

const kindOption = () => new Option('--kind <kind>', 'of which kind').choices(kinds).default('http');

/** `nexus tools sources`: what tools come from besides the server itself. */
export function toolSourceCommands(tools: Command, action: Registrar['action']): void {
  const sources = tools.command('sources').description('where tools come from');
  withPages(sources.command('list', { isDefault: true }).description('list them').addOption(kindOption())).action(action(list));
  sources
    .command('put')
    .description('put a definition from a YAML or JSON file')
    .argument('<file>')
    .addOption(kindOption())
    .action(action(put));
  sources.command('show').description('show a definition').argument('<source>').addOption(kindOption()).action(action(show));
  sources.command('remove').description('remove one, and its tools').argument('<source>').addOption(kindOption()).action(action(remove));
}

async function list(context: CliContext, options: PageFlags & KindFlag): Promise<undefined> {
  const page = await withClient(context, (client) => client.toolSources[options.kind].list(pageFlags(options)));
  printPage(context, page, ['KIND', 'NAME', 'TOOLS', 'VERSION', 'CREATED'], (source) => [
    source.kind,
    source.name,
    String(source.tools ?? '-'),
    source.version.slice(0, 12),
    source.createdAt,
  ]);
}

async function put(context: CliContext, { kind }: KindFlag, path = ''): Promise<undefined> {
  const text = await context.io.readFile(path);
  if (text === null) throw await noSuchFile(context.io, path, 'file');
  const definition = await parseDefinition(path, text);
  const stored = await ofFile(path, () => withClient(context, (client) => client.toolSources[kind].put(definition)));
  printStored(context, stored);
}

async function show(context: CliContext, { kind }: KindFlag, name = ''): Promise<undefined> {
  const found = await withClient(context, (client) => client.toolSources[kind].get(name));
  const { stringify } = await import('yaml');
  context.print(found, () => stringify(found.definition).trimEnd());
}

async function remove(context: CliContext, { kind }: KindFlag, name = ''): Promise<undefined> {
  await withClient(context, (client) => client.toolSources[kind].delete(name));
  context.print({ name }, () => `${name} is removed`);
}

export function printStored(context: CliContext, source: ToolSourceInfo): void {
  const count = source.tools === undefined ? '' : `, ${source.tools} ${source.tools === 1 ? 'tool' : 'tools'}`;
  context.print(source, () => `${source.kind}:${source.name} ${source.version.slice(0, 12)}${count}`);
  for (const warning of source.warnings ?? []) context.note(`warning: ${warning}`);
}

/** What it says is checked by the server. */
async function parseDefinition(path: string, text: string): Promise<HttpToolSourceInput> {
  const { parse } = await import('yaml');
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 100 });
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0]?.replace(/:$/, '') : 'unreadable';
    throw new UsageError(`${path} is not valid YAML: ${why}`);
  }
  if (typeof value !== 'object' || value === null || !('name' in value) || typeof value.name !== 'string')
    throw new UsageError(`${path} must hold a source of tools, with a name`);
  return value as HttpToolSourceInput; // the server says what else is wrong
}
