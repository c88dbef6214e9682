import type { PolicyShortForm, Session } from '@nexus-agent/protocol';
import { type CliContext, withClient } from '../context.ts';
import { amount } from '../describe-event.ts';
import { brief, fields, table } from '../style.ts';
import { type BudgetFlags, budgetOf, withBudget } from './budget-flags.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export function sessionCommands({ program, action }: Registrar): void {
  const session = program.command('sessions').description('sessions with their budgets and policies');
  withPages(session.command('list', { isDefault: true }).description('list sessions')).action(action(list));
  withBudget(session.command('create').description('create a session'), 'session')
    .option('--agent <name>', 'agent of the session')
    .option('--user <name>', 'whose budget pays, too')
    .option('--project <name>', 'whose budget pays, too')
    .option('--allow <pattern...>', 'tools that may run')
    .option('--approve <pattern...>', 'tools that need a person')
    .option('--deny <pattern...>', 'tools that may not run')
    .action(action(create));
  session.command('show').description('show a session').argument('<session>').action(action(show));
  withPages(session.command('messages').description('show the conversation').argument('<session>')).action(action(messages));
  session
    .command('delete')
    .description('delete a session with its runs, their journals and its files')
    .argument('<session>')
    .action(action(remove));
  session.command('close').description('close a session; its live runs are cancelled').argument('<session>').action(action(close));
}

async function list(context: CliContext, options: PageFlags): Promise<undefined> {
  const page = await withClient(context, (client) => client.sessions.list(pageFlags(options)));
  printPage(context, page, ['ID', 'AGENT', 'STATUS', 'SPENT', 'CREATED'], (session) => [
    session.id,
    session.agent,
    session.status,
    spent(session),
    session.createdAt,
  ]);
}

interface CreateFlags extends BudgetFlags {
  readonly agent?: string;
  readonly user?: string;
  readonly project?: string;
  readonly allow?: string[];
  readonly approve?: string[];
  readonly deny?: string[];
}

async function create(context: CliContext, flags: CreateFlags): Promise<undefined> {
  const { agent, user, project, allow, approve, deny } = flags;
  const policy: PolicyShortForm = {
    ...(allow === undefined ? {} : { allow }),
    ...(approve === undefined ? {} : { approve }),
    ...(deny === undefined ? {} : { deny }),
  };
  const budget = await budgetOf(flags);
  const session = await withClient(context, (client) =>
    client.sessions.create({
      ...(agent === undefined ? {} : { agent }),
      ...(user === undefined ? {} : { user }),
      ...(project === undefined ? {} : { project }),
      ...budget,
      ...(Object.keys(policy).length === 0 ? {} : { policy }),
    }),
  );
  context.print(session, () => sessionText(context, session));
}

async function show(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const session = await withClient(context, (client) => client.sessions.get(id));
  context.print(session, () => sessionText(context, session));
}

async function messages(context: CliContext, options: PageFlags, id = ''): Promise<undefined> {
  const page = await withClient(context, (client) => client.sessions.messages(id, pageFlags(options)));
  context.print(page, () =>
    page.data
      .map(({ message }) => {
        const text = message.content.map((part) => {
          if (part.type === 'text') return part.text;
          if (part.type === 'tool_call') return `→ ${part.name} ${brief(part.input)}`;
          return part.type === 'tool_result' ? `← ${part.name} ${brief(part.output)}` : `[${part.type}]`;
        });
        return `${context.out('bold', `${message.role}:`)} ${text.join('\n')}`;
      })
      .join('\n'),
  );
}

async function close(context: CliContext, _options: object, id = ''): Promise<undefined> {
  await withClient(context, (client) => client.sessions.close(id));
  context.print({ id, status: 'closed' }, () => `${id} is closed`);
}

async function remove(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const left = await withClient(context, (client) => client.sessions.delete(id));
  const isGone = left === undefined;
  context.print({ id, status: isGone ? 'deleted' : 'closed' }, () =>
    isGone ? `${id} is deleted` : `${id} is closed, and is deleted as soon as its runs, which are cancelled, have ended`,
  );
}

function sessionText({ out }: CliContext, session: Session): string {
  const { limit, spent, reserved } = session.budget;
  const units = ['costMicroUsd', 'tokens', 'toolCalls', 'wallMs'] as const;
  const rows = units
    .filter((unit) => limit[unit] !== undefined || (spent[unit] ?? 0) > 0)
    .map((unit) => [
      unit,
      limit[unit] === undefined ? 'no limit' : amount(unit, limit[unit]),
      amount(unit, spent[unit] ?? 0),
      amount(unit, reserved[unit] ?? 0),
    ]);
  const { allow, approve, deny } = session.policy ?? {};
  const head = fields(
    [
      ['session', session.id],
      ['status', session.status],
      ['agent', `${session.agent} (${session.agentVersion})`],
      ['user', session.user],
      ['project', session.project],
      ['allow', allow?.join(' ')],
      ['approve', approve?.join(' ')],
      ['deny', deny?.join(' ')],
      ['created', session.createdAt],
    ],
    out,
  );
  return rows.length === 0
    ? `${head}\n${out('dim', 'no budget of its own')}`
    : `${head}\n${table(['BUDGET', 'LIMIT', 'SPENT', 'RESERVED'], rows, out)}`;
}

function spent({ budget }: Session): string {
  const used = amount('costMicroUsd', budget.spent.costMicroUsd ?? 0);
  return budget.limit.costMicroUsd === undefined ? used : `${used} of ${amount('costMicroUsd', budget.limit.costMicroUsd)}`;
}
