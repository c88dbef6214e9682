import { type CliContext, parseJsonOption, withClient } from '../context.ts';
import { exitCodeOf, exitCodes } from '../exit-codes.ts';
import { brief } from '../style.ts';
import type { Registrar } from './command.ts';
import { printPage } from './lists.ts';

export function toolCommands({ program, action }: Registrar): void {
  const tool = program.command('tools').description('tools');
  tool.command('list', { isDefault: true }).description('list tools').action(action(list));
  tool
    .command('run')
    .description('run a tool under the policy and budget of a session')
    .argument('<tool>')
    .requiredOption('--session <session>', 'the session')
    .option('--input <json>', 'arguments', '{}')
    .action(action(execute));
}

async function list(context: CliContext): Promise<undefined> {
  const page = await withClient(context, (client) => client.tools.list());
  printPage(context, page, ['NAME', 'SOURCE', 'EFFECTS', 'PERMISSIONS', 'DESCRIPTION'], (tool) => [
    tool.name,
    tool.source,
    tool.effects,
    tool.permissions.join(' '),
    brief(tool.description, 60),
  ]);
}

async function execute(context: CliContext, options: { session: string; input: string }, name = ''): Promise<number> {
  const input = parseJsonOption(options.input, '--input');
  const result = await withClient(context, (client) => client.tools.execute(name, { sessionId: options.session, input }));
  context.print(result, () => result.output);
  if (result.status === 'ok') return exitCodes.ok;
  const code = result.error?.code ?? 'tool_failed';
  context.note(`${context.err('red', 'error:')} ${brief(result.error?.message ?? 'the tool failed', 300)} (${code})`);
  return exitCodeOf(code);
}
