import { type CliContext, loadConfig } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Registrar } from './command.ts';

export function migrateCommand({ program, action }: Registrar): void {
  program.command('migrate').description('bring the database to the schema of this version').action(action(migrate));
}

async function migrate(context: CliContext): Promise<number> {
  const config = await loadConfig(context);
  const apps = await context.io.loadApps();
  await apps.migrateStore(config);
  context.print({ migrated: true }, () => 'the database has the schema of this version');
  return exitCodes.ok;
}
