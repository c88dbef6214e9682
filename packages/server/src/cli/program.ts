import { Command } from 'commander';
import type { Action } from './commands/command.ts';
import { commands } from './commands/index.ts';
import { createContext, type GlobalOptions } from './context.ts';
import type { CliIo } from './io.ts';
import { withoutArguments } from './printing.ts';
import { addHelpCommand, refuseUnknownCommands, withNearestChoice } from './unknown-command.ts';

/** The commands and the options that all of them take. Everything that talks to a server does so through the SDK. */
export function createProgram(io: CliIo, argv: readonly string[], finish: (code: number) => void): Command {
  const program = new Command('nexus')
    .description('Agents whose spending, permissions and side effects are under control')
    .version(io.version)
    .option('--url <url>', 'server to talk to (default: the configured one)')
    .option('--config <file>', 'configuration file (default: nexus.config.yaml, if it is there)')
    .option('--json', 'print JSON')
    .option('--embedded', 'start a server inside this command instead of talking to one')
    .option('--no-color', 'print without colours')
    .showHelpAfterError('(nexus help <command> shows what it takes)')
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) => write(withoutArguments(withNearestChoice(text), argv)),
    });

  /** Runs the action with what commander parsed: arguments first, then options and the command. */
  const action =
    <Options>(run: Action<Options>) =>
    async (...parsed: unknown[]) => {
      const command = parsed.at(-1) as Command; // commander passes the command last
      const args = parsed
        .slice(0, -2)
        .flat()
        .filter((value) => typeof value === 'string');
      const context = createContext(io, command.optsWithGlobals<GlobalOptions>());
      finish((await run(context, command.opts() as Options, ...args)) ?? 0); // the options are declared beside the action's type
    };
  for (const register of commands) register({ program, action });
  addHelpCommand(program);
  refuseUnknownCommands(program, argv);
  return program;
}
