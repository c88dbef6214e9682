import { Command, InvalidArgumentError, Option } from 'commander';
import type { CliContext, GlobalOptions } from './context.ts';
import type { CliIo } from './io.ts';

/** A command: its arguments, its own options, and the context. Gives the exit code; none means success. */
export type Action<Options> = (context: CliContext, options: Options, ...args: string[]) => Promise<number | undefined>;

/**
 * The commands and their options. What a command does is loaded when it runs, so that help is quick; everything that
 * talks to a server does so through the SDK.
 */
export function createProgram(io: CliIo, finish: (code: number) => void): Command {
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
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.stdout.write(text), writeErr: (text) => io.stderr.write(text) });

  /** Loads the action and runs it with what commander parsed: arguments first, then options and the command. */
  const run =
    <Options>(load: () => Promise<Action<Options>>) =>
    async (...parsed: unknown[]) => {
      const command = parsed.at(-1) as Command; // commander passes the command last
      const args = parsed
        .slice(0, -2)
        .flat()
        .filter((value) => typeof value === 'string');
      const { createContext } = await import('./context.ts');
      const context = createContext(io, command.optsWithGlobals<GlobalOptions>());
      const action = await load();
      finish((await action(context, command.opts() as Options, ...args)) ?? 0); // the options are declared beside the action's type
    };

  const serve = () => import('./commands/serve.ts');
  const talk = () => import('./commands/talk.ts');
  const sessions = () => import('./commands/sessions.ts');
  const runs = () => import('./commands/runs.ts');
  const approvals = () => import('./commands/approvals.ts');
  const catalog = () => import('./commands/catalog.ts');
  const control = () => import('./commands/control.ts');
  const doctor = () => import('./commands/doctor.ts');

  program
    .command('serve')
    .description('run the server until it is interrupted')
    .option('--host <host>', 'address to bind (default 127.0.0.1)')
    .option('--port <port>', 'port (default 8080)', wholeNumber)
    .option('--data-dir <folder>', 'folder of the embedded database and workspaces')
    .option('--database-url <url>', 'Postgres instead of the embedded database')
    .option('--redis-url <url>', 'Redis for fan-out between processes')
    .option('--log-level <level>', 'trace, debug, info, warn, error or silent')
    .action(run(async () => (await serve()).serve));

  withRunOptions(program.command('chat').description('talk with an agent; without a message, in turns'))
    .argument('[message...]', 'what to say; - reads standard input')
    .action(run(async () => (await talk()).chat));
  withRunOptions(program.command('run').description('run an agent once and stream what happens'))
    .argument('<input...>', 'the task; - reads standard input')
    .option('--background', 'start it, print its id and leave')
    .action(run(async () => (await talk()).runOnce));

  const session = group(program, 'sessions', 'sessions with their budgets and policies');
  withPages(session.command('list', { isDefault: true }).description('list sessions')).action(run(async () => (await sessions()).list));
  session
    .command('create')
    .description('create a session')
    .option('--agent <name>', 'agent of the session')
    .option('--budget-usd <amount>', 'limit in US dollars', positiveNumber)
    .option('--budget-tokens <amount>', 'limit in tokens', wholeNumber)
    .option('--budget-tool-calls <amount>', 'limit in tool calls', wholeNumber)
    .option('--allow <pattern...>', 'tools that may run')
    .option('--approve <pattern...>', 'tools that need a person')
    .option('--deny <pattern...>', 'tools that may not run')
    .action(run(async () => (await sessions()).create));
  session
    .command('show')
    .description('show a session')
    .argument('<session>')
    .action(run(async () => (await sessions()).show));
  withPages(session.command('messages').description('show the conversation').argument('<session>')).action(
    run(async () => (await sessions()).messages),
  );
  session
    .command('close')
    .description('close a session; its live runs are cancelled')
    .argument('<session>')
    .action(run(async () => (await sessions()).close));

  const runGroup = group(program, 'runs', 'runs and their journals');
  withPages(runGroup.command('list', { isDefault: true }).description('list runs'))
    .option('--session <session>', 'only of this session')
    .option('--status <status>', 'only with this status')
    .action(run(async () => (await runs()).list));
  runGroup
    .command('show')
    .description('show a run with its timeline')
    .argument('<run>')
    .action(run(async () => (await runs()).show));
  runGroup
    .command('watch')
    .description('follow a run; leaving does not cancel it')
    .argument('<run>')
    .option('--after <event>', 'begin after this event id')
    .action(run(async () => (await runs()).watch));
  runGroup
    .command('events')
    .description('print the journal, one JSON event a line')
    .argument('<run>')
    .action(run(async () => (await runs()).events));
  runGroup
    .command('cancel')
    .description('stop a run')
    .argument('<run>')
    .option('--reason <text>', 'kept in the journal')
    .action(run(async () => (await runs()).cancel));
  runGroup
    .command('resume')
    .description('continue a failed run')
    .argument('<run>')
    .action(run(async () => (await runs()).resume));
  runGroup
    .command('fork')
    .description('start a new run from an event of this one')
    .argument('<run>')
    .option('--after <event>', 'last event to keep (default: the last finished step)', wholeNumber)
    .option('--input <text>', 'another input')
    .option('--model <model>', 'another model')
    .action(run(async () => (await runs()).fork));
  runGroup
    .command('replay')
    .description('replay the journal and compare the state')
    .argument('<run>')
    .action(run(async () => (await runs()).replay));
  withPages(runGroup.command('decisions').description('what policy decided, and why').argument('<run>')).action(
    run(async () => (await runs()).decisions),
  );

  const approval = group(program, 'approvals', 'what waits for a person');
  withPages(approval.command('list', { isDefault: true }).description('list approvals'))
    .addOption(
      new Option('--status <status>', 'only with this status')
        .choices(['pending', 'decided', 'expired', 'cancelled', 'all'])
        .default('pending'),
    )
    .action(run(async () => (await approvals()).list));
  approval
    .command('show')
    .description('show the exact arguments')
    .argument('<approval>')
    .action(run(async () => (await approvals()).show));
  approval
    .command('approve')
    .description('let it run')
    .argument('<approval>')
    .option('--arguments <json>', 'run it with these arguments instead')
    .option('--note <text>', 'kept with the decision')
    .action(run(async () => (await approvals()).approve));
  approval
    .command('deny')
    .description('do not let it run')
    .argument('<approval>')
    .option('--note <text>', 'told to the agent')
    .action(run(async () => (await approvals()).deny));
  approval
    .command('answer')
    .description('answer a question, or say what became of a call: --decision done, retry or fail')
    .argument('<approval>')
    .argument('[text...]', 'the answer or result')
    .addOption(
      new Option('--decision <decision>', 'for a call with unknown outcome').choices(['done', 'retry', 'fail', 'answer']).default('answer'),
    )
    .option('--note <text>', 'kept with the decision')
    .action(run(async () => (await approvals()).answer));

  const agent = group(program, 'agents', 'agent definitions');
  withPages(agent.command('list', { isDefault: true }).description('list agents')).action(run(async () => (await catalog()).listAgents));
  agent
    .command('show')
    .description('show a definition')
    .argument('<agent>')
    .option('--version <version>', 'an older version')
    .action(run(async () => (await catalog()).showAgent));
  agent
    .command('put')
    .description('store a definition from a YAML or JSON file')
    .argument('<file>')
    .action(run(async () => (await catalog()).putAgent));
  const tool = group(program, 'tools', 'tools');
  tool
    .command('list', { isDefault: true })
    .description('list tools')
    .action(run(async () => (await catalog()).listTools));
  tool
    .command('run')
    .description('run a tool under the policy and budget of a session')
    .argument('<tool>')
    .requiredOption('--session <session>', 'the session')
    .option('--input <json>', 'arguments', '{}')
    .action(run(async () => (await catalog()).runTool));
  const model = group(program, 'models', 'models that providers serve');
  model
    .command('list', { isDefault: true })
    .description('list models')
    .action(run(async () => (await catalog()).listModels));

  const budget = group(program, 'budgets', 'limits and balances');
  withPages(budget.command('list', { isDefault: true }).description('list balances'))
    .option('--scope <kind:id>', 'only of this scope')
    .action(run(async () => (await control()).listBudgets));
  budget
    .command('set')
    .description('set a limit')
    .argument('<scope>', 'such as tenant:default or session:ses_…')
    .argument('<limit>', 'whole number in the unit; for costMicroUsd also dollars, such as $2.50')
    .addOption(new Option('--unit <unit>').choices(['costMicroUsd', 'tokens', 'toolCalls', 'wallMs']).default('costMicroUsd'))
    .addOption(new Option('--window <window>').choices(['total', 'day', 'month']).default('total'))
    .action(run(async () => (await control()).setBudget));
  budget
    .command('usage')
    .description('what was spent, by day')
    .option('--days <days>', 'how many days', wholeNumber, 30)
    .action(run(async () => (await control()).usage));
  const key = group(program, 'keys', 'API keys');
  withPages(key.command('list', { isDefault: true }).description('list keys')).action(run(async () => (await control()).listKeys));
  key
    .command('create')
    .description('create a key; its secret is shown this once')
    .requiredOption('--name <name>', 'what it is for')
    .addOption(new Option('--scope <scope...>', 'what it may do').choices(['runs', 'approvals', 'admin']))
    .option('--expires <time>', 'RFC 3339 time')
    .action(run(async () => (await control()).createKey));
  key
    .command('revoke')
    .description('revoke a key at once')
    .argument('<key>')
    .action(run(async () => (await control()).revokeKey));

  program
    .command('doctor')
    .description('check this machine and its configuration')
    .action(run(async () => (await doctor()).doctor));
  program
    .command('migrate')
    .description('bring the database to the schema of this version')
    .action(run(async () => (await serve()).migrate));
  group(program, 'config', 'the configuration')
    .command('print', { isDefault: true })
    .description('show what files, environment and flags come to, without secrets')
    .action(run(async () => (await serve()).printConfig));
  program
    .command('demo')
    .description('show the whole of it, in under a minute')
    .option('--no-interactive', 'do not stay up afterwards')
    .option('--data-dir <folder>', 'keep the data in this folder (default: a temporary one that is removed)')
    .option('--keep', 'leave the temporary folder')
    .action(run(async () => (await serve()).demo));
  return program;
}

function group(program: Command, name: string, description: string): Command {
  return program.command(name).description(description);
}

function withRunOptions(command: Command): Command {
  return command
    .option('--agent <name>', 'agent to run')
    .option('--model <model>', 'model instead of the agent’s own')
    .option('--session <session>', 'go on in this session')
    .option('--budget-usd <amount>', 'limit of the run in US dollars', positiveNumber)
    .option('--budget-tokens <amount>', 'limit of the run in tokens', wholeNumber);
}

function withPages(command: Command): Command {
  return command.option('--limit <count>', 'how many', wholeNumber).option('--cursor <cursor>', 'from the page before');
}

function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}

function positiveNumber(text: string): number {
  const value = Number(text.replace(/^\$/, ''));
  if (!Number.isFinite(value) || value < 0 || text.trim() === '') throw new InvalidArgumentError('expected an amount such as 0.50.');
  return value;
}
