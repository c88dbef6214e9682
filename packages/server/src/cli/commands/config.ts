import { type CliContext, loadConfig } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Registrar } from './command.ts';

export function configCommands({ program, action }: Registrar): void {
  program
    .command('config')
    .description('the configuration')
    .command('print', { isDefault: true })
    .description('show what files, environment and flags come to, without secrets')
    .action(action(print));
}

async function print(context: CliContext): Promise<number> {
  const [{ redactConfig }, { stringify }] = await Promise.all([import('#apps/config'), import('yaml')]);
  const shown = redactConfig(await loadConfig(context));
  context.print(shown, () => stringify(shown).trimEnd());
  return exitCodes.ok;
}
