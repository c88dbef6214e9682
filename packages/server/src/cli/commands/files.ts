import { type CliContext, withClient } from '../context.ts';
import { UsageError } from '../exit-codes.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

const runHelp = 'the files that this run works on; a fork has its own';

export function fileCommands({ program, action }: Registrar): void {
  const group = program.command('files').description('files that tools wrote in a session');
  withPages(group.command('list').description('list the files of a session').argument('<session>'))
    .option('--run <run>', runHelp)
    .action(action(list));
  group
    .command('get')
    .description('print a file, or save it')
    .argument('<session>')
    .argument('<path>')
    .option('--run <run>', runHelp)
    .option('--out <file>', 'save it there')
    .action(action(get));
}

interface RunFlag {
  readonly run?: string;
}

async function list(context: CliContext, options: PageFlags & RunFlag, session = ''): Promise<undefined> {
  const page = await withClient(context, (client) => client.sessions.files(session, { ...pageFlags(options), ...runOf(options) }));
  printPage(context, page, ['PATH', 'BYTES', 'CHANGED', 'BY', 'SHA-256'], (file) => [
    file.path,
    String(file.bytes),
    file.updatedAt,
    file.runId ?? '-',
    file.sha256.slice(0, 12),
  ]);
}

async function get(context: CliContext, options: RunFlag & { readonly out?: string }, session = '', path = ''): Promise<undefined> {
  const { io } = context;
  if (options.out === undefined && context.options.json === true) throw new UsageError('a file is not JSON; use --out to save it');
  await withClient(context, async (client) => {
    const { body } = await client.sessions.file(session, path, runOf(options));
    const pieces = body ?? [];
    if (options.out !== undefined) await io.writeFile(options.out, pieces);
    else for await (const piece of pieces) io.stdout.write(piece);
  });
  if (options.out !== undefined) context.print({ path, savedAs: options.out }, () => `saved ${path} as ${options.out ?? ''}`);
}

function runOf({ run }: RunFlag): RunFlag {
  return run === undefined ? {} : { run };
}
