import type { Approval, ApprovalAnswer } from '@nexus-agent/protocol';
import { Option } from 'commander';
import { visible } from '#core/visible';
import { showArguments } from '../arguments.ts';
import { type CliContext, parseJsonOption, withClient } from '../context.ts';
import { exitCodes, UsageError } from '../exit-codes.ts';
import { formContent, formText } from '../form-answer.ts';
import { brief, fields } from '../style.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export function approvalCommands({ program, action }: Registrar): void {
  const approval = program.command('approvals').description('what waits for a person');
  withPages(approval.command('list', { isDefault: true }).description('list approvals'))
    .addOption(
      new Option('--status <status>', 'only with this status')
        .choices(['pending', 'decided', 'expired', 'cancelled', 'all'])
        .default('pending'),
    )
    .action(action(list));
  approval.command('show').description('show the exact arguments').argument('<approval>').action(action(show));
  approval
    .command('approve')
    .description('let it run')
    .argument('<approval>')
    .option('--arguments <json>', 'run it with these arguments instead')
    .option('--note <text>', 'kept with the decision')
    .action(action(approve));
  approval
    .command('deny')
    .description('do not let it run')
    .argument('<approval>')
    .option('--note <text>', 'told to the agent')
    .action(action(deny));
  approval
    .command('answer')
    .description('answer a question, or say what became of a call: --decision done, retry or fail')
    .argument('<approval>')
    .argument('[text...]', 'the answer or result; of a form name=value for each field, or one JSON object')
    .addOption(
      new Option('--decision <decision>', 'for a call with unknown outcome').choices(['done', 'retry', 'fail', 'answer']).default('answer'),
    )
    .option('--note <text>', 'kept with the decision')
    .action(action(answer));
}

async function list(context: CliContext, options: PageFlags & { status: Approval['status'] | 'all' }): Promise<undefined> {
  const filter = { ...pageFlags(options), ...(options.status === 'all' ? {} : { status: options.status }) };
  const page = await withClient(context, (client) => client.approvals.list(filter));
  printPage(context, page, ['ID', 'STATUS', 'WHAT', 'ROLE', 'UNTIL', 'RUN'], (approval) => [
    approval.id,
    approval.decision ?? approval.status,
    approval.kind === 'question' ? brief(approval.question ?? '', 70) : `${approval.toolName} ${brief(approval.arguments, 60)}`,
    approval.role ?? '',
    approval.deadlineAt,
    approval.runId,
  ]);
}

async function show(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const approval = await withClient(context, (client) => client.approvals.get(id));
  context.print(approval, () => approvalText(context, approval));
}

interface Flags {
  readonly arguments?: string;
  readonly note?: string;
  readonly decision?: 'done' | 'retry' | 'fail' | 'answer';
}

async function approve(context: CliContext, flags: Flags, id = ''): Promise<number> {
  const edited = flags.arguments === undefined ? {} : { arguments: parseJsonOption(flags.arguments, '--arguments') };
  return decide(context, id, { decision: 'approve', ...edited, ...noteOf(flags) });
}

async function deny(context: CliContext, flags: Flags, id = ''): Promise<number> {
  return decide(context, id, { decision: 'deny', ...noteOf(flags) });
}

async function answer(context: CliContext, flags: Flags, id = '', ...words: string[]): Promise<number> {
  const { decision = 'answer' } = flags;
  const result = words.join(' ');
  if (decision === 'answer' && result === '') throw new UsageError('say what the answer is: nexus approvals answer <approval> <text>');
  const { form } = decision === 'answer' ? await withClient(context, (client) => client.approvals.get(id)) : {};
  if (form !== undefined) return decide(context, id, { decision, content: formContent(form, words), ...noteOf(flags) });
  return decide(context, id, { decision, ...(result === '' ? {} : { result }), ...noteOf(flags) });
}

function noteOf({ note }: Flags): { note?: string } {
  return note === undefined ? {} : { note };
}

async function decide(context: CliContext, id: string, answer: ApprovalAnswer): Promise<number> {
  const approval = await withClient(context, (client) => client.approvals.answer(id, answer));
  context.print(
    approval,
    () => `${approval.id}: ${approval.decision ?? approval.status}; follow the run: nexus runs watch ${approval.runId}`,
  );
  return exitCodes.ok;
}

function approvalText({ out }: CliContext, approval: Approval): string {
  const head = fields(
    [
      ['approval', approval.id],
      ['status', approval.decision === undefined ? approval.status : `${approval.status}: ${approval.decision}`],
      ['kind', approval.kind],
      ['run', approval.runId],
      ['tool', approval.toolName],
      ['question', approval.question === undefined ? undefined : approval.question],
      ['asks for', approval.role === undefined ? undefined : `the role ${approval.role}, or the owner`],
      ['choices', approval.choices.join(', ')],
      ['until', `${approval.deadlineAt}, then ${approval.defaultDecision}`],
      ['decided by', approval.decidedBy],
      ['note', approval.note === undefined ? undefined : approval.note],
    ],
    out,
  );
  return `${head}\n${approval.form === undefined ? showArguments(approval.arguments) : visible(formText(approval.form))}`;
}
