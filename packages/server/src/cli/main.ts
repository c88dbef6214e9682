import { CommanderError } from 'commander';
import { exitCodeOf, exitCodes, UsageError } from './exit-codes.ts';
import { type CliIo, processIo } from './io.ts';
import { withoutArguments, withPrintableOutputs } from './printing.ts';
import { createProgram } from './program.ts';
import { hintOf } from './refused.ts';
import { createStyle } from './style.ts';
import { systemErrorText } from './system-errors.ts';

/** Runs one command line, without the program's name. Resolves with the exit code and never rejects. */
export async function main(argv: readonly string[], outside: CliIo = processIo()): Promise<number> {
  const io = withPrintableOutputs(outside);
  let code: number = exitCodes.ok;
  try {
    await createProgram(io, argv, (result) => {
      code = result;
    }).parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    return report(error, io, argv);
  }
}

/** The message of commander where it has printed help because there was no command. */
const helpInstead = '(outputHelp)';

/** A program that asked for JSON reads an error there, too. */
function printUsageError(detail: string, io: CliIo, argv: readonly string[]): void {
  if (!argv.includes('--json')) return;
  io.stdout.write(`${JSON.stringify({ error: { code: 'usage', detail: detail.trimEnd() } }, null, 2)}\n`);
}

function report(error: unknown, io: CliIo, argv: readonly string[]): number {
  // Commander has already printed its message, or the help that was asked for.
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.ok;
    if (error.message !== helpInstead) printUsageError(withoutArguments(error.message.replace(/^error: /, ''), argv), io, argv);
    return exitCodes.usage;
  }
  const style = createStyle(io.stderr, io.env, !argv.includes('--no-color'));
  const message = systemErrorText(error) ?? (error instanceof Error ? error.message : String(error));
  if (error instanceof UsageError) {
    printUsageError(message, io, argv);
    io.stderr.write(`${style('red', 'error:')} ${message}\n`);
    return exitCodes.usage;
  }
  const errorCode = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'internal';
  if (argv.includes('--json')) {
    const problem = error instanceof Error && 'problem' in error ? error.problem : { code: errorCode, detail: message };
    io.stdout.write(`${JSON.stringify({ error: problem }, null, 2)}\n`);
  }
  // Lines of a message may be there to be copied.
  const between = message.includes('\n') ? '\n' : ' ';
  io.stderr.write(`${style('red', 'error:')} ${message}${between}${style('dim', `(${errorCode})`)}\n`);
  if (errorCode === 'unavailable' && message.startsWith('no answer from')) {
    io.stderr.write(`${style('dim', 'start a server with: nexus serve')}\n`);
  }
  const hint = hintOf(error);
  if (hint !== undefined) io.stderr.write(`${style('dim', hint)}\n`);
  return exitCodeOf(errorCode);
}
