import { type CliContext, loadConfig } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { handleInterrupts } from '../interrupt.ts';
import type { Registrar } from './command.ts';

export function demoCommand({ program, action }: Registrar): void {
  program
    .command('demo')
    .description('show the whole of it, in under a minute')
    .option('--no-interactive', 'do not stay up afterwards')
    .option('--data-dir <folder>', 'keep the data in this folder (default: a temporary one that is removed)')
    .option('--keep', 'leave the temporary folder')
    .action(action(demo));
}

/** `nexus demo`: to its end, and on a terminal until it is told to stop. */
async function demo(
  context: CliContext,
  { interactive, ...options }: { readonly interactive: boolean; readonly dataDir?: string; readonly keep?: boolean },
): Promise<number> {
  const config = await loadConfig(context);
  const { runDemo } = await context.io.loadApps();
  const { io } = context;
  const stop = new AbortController();
  const interrupts = handleInterrupts(io, () => stop.abort());
  try {
    await runDemo({
      ...options,
      interactive: interactive && io.stdout.isTty,
      config,
      version: io.version,
      out: (text) => io.stdout.write(text),
      style: context.out,
      signal: stop.signal,
    });
    return exitCodes.ok;
  } catch (error) {
    if (!interrupts.interrupted) throw error;
    context.note('the demo was interrupted');
    return exitCodes.interrupted;
  } finally {
    interrupts.stop();
  }
}
