import { type CliContext, loadConfig } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Registrar } from './command.ts';

export function doctorCommand({ program, action }: Registrar): void {
  program.command('doctor').description('check this machine and its configuration').action(action(doctor));
}

async function doctor(context: CliContext): Promise<number> {
  const { checkMachine } = await import('../machine.ts');
  const found = await loadConfig(context).then(
    (config) => ({ config }),
    (error: Error) => ({ fault: error.message }),
  );
  const checks = await checkMachine(found);
  const mark = { ok: context.out('green', '✓'), warn: context.out('yellow', '!'), fail: context.out('red', '✗') };
  const width = Math.max(...checks.map(({ name }) => name.length));
  context.print({ checks }, () => checks.map(({ name, status, detail }) => `${mark[status]} ${name.padEnd(width)}  ${detail}`).join('\n'));
  return checks.some(({ status }) => status === 'fail') ? exitCodes.failure : exitCodes.ok;
}
