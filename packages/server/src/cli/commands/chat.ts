import { text } from 'node:stream/consumers';
import type { BudgetLimits, ChatRequest, WhileBusy } from '@nexus-agent/protocol';
import type { NexusClient } from '@nexus-agent/sdk';
import type { Command } from 'commander';
import type { Asker } from '../ask-approval.ts';
import { type CliContext, withClient } from '../context.ts';
import { exitCodes, UsageError } from '../exit-codes.ts';
import { type BudgetFlags, budgetOf, withBudget } from './budget-flags.ts';
import type { Registrar } from './command.ts';

export function chatCommands({ program, action }: Registrar): void {
  withRunOptions(program.command('chat').description('talk with an agent; without a message, in turns'))
    .argument('[message...]', 'what to say; - reads standard input')
    .action(action(chat));
  withRunOptions(program.command('run').description('run an agent once and stream what happens'))
    .argument('<input...>', 'the task; - reads standard input')
    .option('--background', 'start it, print its id and leave')
    .action(action(runOnce));
}

const waysWhileBusy = ['queue', 'reject', 'interrupt', 'parallel'] satisfies WhileBusy[];

function withRunOptions(command: Command): Command {
  const named = command
    .option('--agent <name>', 'agent to run')
    .option('--model <model>', 'model instead of the agent’s own')
    .option('--session <session>', 'go on in this session')
    .addOption(
      command.createOption('--while-busy <what>', 'while the session works on another run (default: queue)').choices(waysWhileBusy),
    )
    .option('--user <name>', 'whose budget pays, too')
    .option('--project <name>', 'whose budget pays, too');
  return withBudget(named, 'run');
}

interface RunOptions extends BudgetFlags {
  readonly agent?: string;
  readonly model?: string;
  readonly session?: string;
  readonly whileBusy?: WhileBusy;
  readonly user?: string;
  readonly project?: string;
  readonly background?: boolean;
}

/** `nexus run`: one task, to its end. */
async function runOnce(context: CliContext, options: RunOptions, ...words: string[]): Promise<number> {
  const input = await inputOf(context, words);
  if (input.trim() === '') throw new UsageError("say what is to be done: nexus run 'the task', or - to read it from standard input");
  const request = requestOf(input, options, await budgetOf(options));
  if (options.background === true) {
    return withClient(context, async (client) => {
      const run = await client.runs.create(request);
      context.print(run, () => run.id);
      return exitCodes.ok;
    });
  }
  return withClient(
    context,
    async (client) => {
      const { code, sessionId } = await withAsker(context, (asker) => turn(context, client, request, asker));
      if (code === exitCodes.interrupted && sessionId !== null)
        context.note(context.err('dim', `go on in its session with: nexus run --session ${sessionId} …`));
      return code;
    },
    { autoEmbed: true },
  );
}

/** What people type who look for a command: a model would be paid for it. */
const slashWord = /^\/[a-z?]+\s*$/i;

/** `nexus chat`: one turn with a message; else turns until the input ends. */
async function chat(context: CliContext, options: RunOptions, ...words: string[]): Promise<number> {
  const interactive = context.io.stdin.isTTY === true && words.length === 0;
  if (!interactive) return runOnce(context, options, ...(words.length === 0 ? ['-'] : words));
  const budget = await budgetOf(options);
  return withClient(
    context,
    (client) =>
      withAsker(context, async (asker) => {
        if (asker === null) throw new UsageError('chat needs a terminal or a message');
        context.note(context.err('dim', 'Type a message; Ctrl-C stops a run, Ctrl-D or an empty prompt and Ctrl-C ends the conversation.'));
        let session = options.session;
        for (;;) {
          const message = await asker('you> ');
          if (message === null) {
            context.note('');
            if (session !== undefined) context.note(context.err('dim', `go on later with: nexus chat --session ${session}`));
            return exitCodes.ok;
          }
          if (message.trim() === '') continue;
          if (slashWord.test(message)) {
            context.note(
              context.err('dim', `${message} is no command, and was not sent: there are none here. Begin with a blank to say it.`),
            );
            continue;
          }
          const request = requestOf(message, { ...options, ...(session === undefined ? {} : { session }) }, budget);
          try {
            const result = await turn(context, client, request, asker);
            session = result.sessionId ?? session;
          } catch (error) {
            // A refused turn does not end the conversation.
            context.note(`${context.err('red', 'error:')} ${error instanceof Error ? error.message : String(error)}`);
          }
        }
      }),
    { autoEmbed: true },
  );
}

async function turn(context: CliContext, client: NexusClient, request: ChatRequest, asker: Asker | null) {
  const { followRun } = await import('../follow-run.ts');
  return followRun(context, client, (signal) => client.chat(request, { signal }), { onInterrupt: 'cancel', asker });
}

/** Approvals are asked only where a person sees the question and can answer it. */
async function withAsker<T>(context: CliContext, use: (asker: Asker | null) => Promise<T>): Promise<T> {
  const { io, options } = context;
  if (io.stdin.isTTY !== true || !io.stderr.isTty || options.json === true) return use(null);
  const { createAsker } = await import('../ask-approval.ts');
  const asker = createAsker(io);
  try {
    return await use(asker.ask);
  } finally {
    asker.close();
  }
}

function requestOf(input: string, options: RunOptions, budget: { budget?: BudgetLimits }): ChatRequest {
  const { agent, model, session, whileBusy, user, project } = options;
  return {
    input,
    ...(agent === undefined ? {} : { agent }),
    ...(model === undefined ? {} : { model }),
    ...(session === undefined ? {} : { sessionId: session }),
    ...(whileBusy === undefined ? {} : { whileBusy }),
    ...(user === undefined ? {} : { user }),
    ...(project === undefined ? {} : { project }),
    ...budget,
  };
}

async function inputOf({ io }: CliContext, words: readonly string[]): Promise<string> {
  if (words.length !== 1 || words[0] !== '-') return words.join(' ');
  const input = await text(io.stdin);
  if (input.trim() === '') throw new UsageError('there is nothing on standard input');
  return input;
}
