import type { EffectsClass, HttpTool } from '@nexus-agent/protocol';
import { Argument, type Command, InvalidArgumentError } from 'commander';
import type { OpenApiImport } from '#apps';
import { createAsker } from '../ask-approval.ts';
import { type CliContext, noSuchFile, withClient } from '../context.ts';
import { exitCodes, UsageError } from '../exit-codes.ts';
import { brief, table } from '../style.ts';
import type { Registrar } from './command.ts';
import { printStored } from './tool-sources.ts';

interface ImportFlags {
  readonly name: string;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly effects?: ReadonlyMap<string, EffectsClass>;
  readonly baseUrl?: string;
  readonly yes?: boolean;
}

const maxShown = 200;
const maxDocumentBytes = 20 * 1024 * 1024;
const fetchTimeoutMs = 30_000;
const effectsClasses: readonly EffectsClass[] = ['none', 'idempotent', 'once'];

/** `nexus tools import openapi`: an API that describes itself becomes tools. */
export function toolImportCommand(tools: Command, action: Registrar['action']): void {
  tools
    .command('import')
    .description('make tools of the operations of an API')
    .addArgument(new Argument('<format>', 'how it describes itself').choices(['openapi']))
    .argument('<document>', 'a file or an address')
    .requiredOption('--name <name>', 'what the source is called, and the names of its tools begin with')
    .option('--include <operation>', 'only these, such as "GET /pets*" or list*; may be given again', many)
    .option('--exclude <operation>', 'not these; may be given again', many)
    .option('--effects <operation=class>', 'what one does to the world: none, idempotent or once; may be given again', givenEffects)
    .option('--base-url <url>', 'where the API is, if the document does not say')
    .option('--yes', 'do not ask')
    .action(action(importTools));
}

function many(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

function givenEffects(text: string, before: ReadonlyMap<string, EffectsClass> = new Map()): ReadonlyMap<string, EffectsClass> {
  const at = text.lastIndexOf('=');
  const known = effectsClasses.find((each) => each === text.slice(at + 1));
  if (at < 1 || known === undefined)
    throw new InvalidArgumentError('expected an operation and none, idempotent or once, such as createPet=idempotent.');
  return new Map([...before, [text.slice(0, at), known]]);
}

async function importTools(context: CliContext, { yes = false, ...flags }: ImportFlags, _format = '', place = ''): Promise<number> {
  const isAddress = /^https?:\/\//i.test(place);
  const text = isAddress ? await fetchDocument(place) : await context.io.readFile(place);
  if (text === null) throw await noSuchFile(context.io, place, 'file');
  const { importApi } = await context.io.loadApps();
  const made = await importApi(text, { ...flags, ...(isAddress ? { origin: place } : {}) });
  context.note(describe(context, made));
  if (!yes && !(await confirmed(context, made))) {
    context.note('nothing was added');
    return exitCodes.ok;
  }
  printStored(context, await withClient(context, (client) => client.toolSources.http.put(made.source)));
  return exitCodes.ok;
}

/** Bounded, as the address may lead anywhere. What the document refers to is not fetched. */
async function fetchDocument(url: string): Promise<string> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(fetchTimeoutMs) });
    if (!response.ok) throw new UsageError(`${url} answered ${response.status}`);
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of response.body ?? []) {
      size += piece.length;
      if (size > maxDocumentBytes) throw new UsageError(`${url} gives more than the ${maxDocumentBytes} bytes that are read`);
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString('utf8');
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new UsageError(`${url} could not be read: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

function describe(context: CliContext, { source, leftOut, notes, secrets }: OpenApiImport): string {
  const shown = source.tools.slice(0, maxShown);
  const more = source.tools.length - shown.length;
  return [
    table(['TOOL', 'EFFECTS', 'REQUEST', 'DESCRIPTION'], shown.map(row), context.err),
    ...(more > 0 ? [`and ${more} more`] : []),
    `at ${source.baseUrl}`,
    ...listed(
      'left out',
      leftOut.map(({ operation, why }) => `${operation}: ${why}`),
    ),
    ...listed('notes', notes),
    ...(secrets.length === 0 ? [] : [`secrets for the configuration of the server: ${secrets.join(', ')}`]),
  ].join('\n');
}

function row({ name, effects, method, path, description }: HttpTool): string[] {
  const byMethod = ['GET', 'HEAD'].includes(method) ? 'none' : ['PUT', 'DELETE'].includes(method) ? 'idempotent' : 'once';
  return [name, effects ?? byMethod, brief(`${method} ${path}`, 60), brief(description, 50)];
}

function listed(title: string, lines: readonly string[]): string[] {
  if (lines.length === 0) return [];
  const more = lines.length > maxShown ? [`  and ${lines.length - maxShown} more`] : [];
  return [`${title}:`, ...lines.slice(0, maxShown).map((line) => `  ${brief(line, 200)}`), ...more];
}

async function confirmed(context: CliContext, { source }: OpenApiImport): Promise<boolean> {
  if (context.io.stdin.isTTY !== true) throw new UsageError('nobody can be asked here; say --yes to add them');
  const asker = createAsker(context.io);
  try {
    const answer = await asker.ask(
      `add ${source.tools.length === 1 ? 'this tool' : `these ${source.tools.length} tools`} as http:${source.name}? [y/N] `,
    );
    return /^y(es)?$/i.test(answer?.trim() ?? '');
  } finally {
    asker.close();
  }
}
