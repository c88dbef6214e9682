import { type CliContext, withClient } from '../context.ts';
import { UsageError } from '../exit-codes.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export function artifactCommands({ program, action }: Registrar): void {
  const group = program.command('artifacts').description('results of tools that were too long for a prompt');
  withPages(group.command('list').description('list artifacts, the newest first'))
    .option('--session <session>', 'those of this session')
    .option('--run <run>', 'those of this run')
    .action(action(list));
  group
    .command('get')
    .description('print what is kept of a result, or save it')
    .argument('<artifact>')
    .option('--out <file>', 'save it there')
    .action(action(get));
}

interface OfFlags {
  readonly session?: string;
  readonly run?: string;
}

async function list(context: CliContext, options: PageFlags & OfFlags): Promise<undefined> {
  const { session, run } = options;
  const of = { ...(session === undefined ? {} : { sessionId: session }), ...(run === undefined ? {} : { runId: run }) };
  const page = await withClient(context, (client) => client.artifacts.list({ ...pageFlags(options), ...of }));
  printPage(context, page, ['ID', 'TOOL', 'BYTES', 'LINES', 'WHOLE', 'CREATED', 'RUN'], (artifact) => [
    artifact.id,
    artifact.tool,
    String(artifact.bytes),
    String(artifact.lines),
    artifact.whole ? 'yes' : 'no',
    artifact.createdAt,
    artifact.runId ?? '-',
  ]);
}

async function get(context: CliContext, { out }: { readonly out?: string }, id = ''): Promise<undefined> {
  const { io } = context;
  if (out === undefined && context.options.json === true) throw new UsageError('an artifact may be no JSON; use --out to save it');
  await withClient(context, async (client) => {
    const { body } = await client.artifacts.content(id);
    const pieces = body ?? [];
    if (out !== undefined) await io.writeFile(out, pieces);
    else for await (const piece of pieces) io.stdout.write(piece);
  });
  if (out !== undefined) context.print({ id, savedAs: out }, () => `saved ${id} as ${out}`);
}
