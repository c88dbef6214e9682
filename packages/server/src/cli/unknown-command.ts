import { Command, CommanderError } from 'commander';
import { withoutArguments } from './printing.ts';

/** Lets a group refuse a word that names none of its commands: with the nearest one, and not as an argument of its default. */
export function refuseUnknownCommands(program: Command, argv: readonly string[]): void {
  for (const group of program.commands) {
    for (const command of group.commands) {
      const { outputError } = command.configureOutput();
      command.configureOutput({
        outputError(text, write) {
          const [word] = command.args;
          const meant = /too many arguments/.test(text) && word !== undefined && !argv.includes(command.name());
          if (meant) write(withoutArguments(unknownCommandText(group, word), argv));
          else outputError?.(text, write);
        },
      });
    }
  }
}

/** `nexus help runs show`: the help of the command that the words lead to. */
export function addHelpCommand(program: Command): void {
  program.helpCommand(false);
  program
    .command('help')
    .description('show what a command takes')
    .argument('[command...]')
    .action((words: readonly string[]) => {
      let found = program;
      for (const word of words) {
        const next = found.commands.find((command) => command.name() === word || command.aliases().includes(word));
        if (next === undefined) {
          const text =
            found.commands.length > 0 ? unknownCommandText(found, word) : `error: '${nameOf(found)}' has no commands of its own\n`;
          program.configureOutput().writeErr?.(text);
          throw new CommanderError(2, 'commander.unknownCommand', text);
        }
        found = next;
      }
      found.outputHelp();
    });
}

function unknownCommandText(group: Command, word: string): string {
  const names = group.commands.map((command) => command.name());
  return `${unknownWordText(word, names)}(commands of ${nameOf(group)}: ${names.join(', ')})\n`;
}

/** An error of commander; one that says which words are allowed is told with the nearest of them. */
export function withNearestChoice(text: string): string {
  const [, word, choices] = /'([^']*)' is invalid\b.*?\. Allowed choices are (.*)\.\s*$/.exec(text) ?? [];
  if (word === undefined || choices === undefined) return text;
  const [, nearest = ''] = /(\(Did you mean .*\)\n)/.exec(unknownWordText(word, choices.split(', '))) ?? [];
  return `${text}${nearest}`;
}

/** What commander says of an unknown command, which it does only where no default command takes the word. */
function unknownWordText(word: string, names: readonly string[]): string {
  let text = '';
  const probe = new Command()
    .showSuggestionAfterError()
    .helpOption(false)
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      writeErr: (more) => {
        text += more;
      },
      writeOut: () => undefined,
    });
  for (const name of names) probe.command(name);
  try {
    probe.parse(['--', word], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
  }
  return text;
}

function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}
