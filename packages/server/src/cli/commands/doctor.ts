import { type CliContext, loadConfig } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { systemErrorText } from '../system-errors.ts';
import type { Registrar } from './command.ts';

export function doctorCommand({ program, action }: Registrar): void {
  program.command('doctor').description('check this machine and its configuration').action(action(doctor));
}

async function doctor(context: CliContext): Promise<number> {
  const [{ checkMachine }, { environmentNotes }, { checkSetup }] = await Promise.all([
    import('../machine.ts'),
    import('#apps/config'),
    context.io.loadApps(),
  ]);
  const found = await loadConfig(context).then(
    (config) => ({ config }),
    (error: Error) => ({ fault: systemErrorText(error) ?? error.message }),
  );
  const checks = await checkMachine({ found, notes: environmentNotes(context.io.env), checkSetup, io: context.io });
  const mark = new Map([
    ['ok', context.out('green', '✓')],
    ['warn', context.out('yellow', '!')],
    ['fail', context.out('red', '✗')],
  ]);
  const width = Math.max(...checks.map(({ name }) => name.length));
  context.print({ checks }, () =>
    checks.map(({ name, status, detail }) => `${mark.get(status)} ${name.padEnd(width)}  ${detail}`).join('\n'),
  );
  return checks.some(({ status }) => status === 'fail') ? exitCodes.failure : exitCodes.ok;
}
