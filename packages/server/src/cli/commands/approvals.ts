import type { Approval, ApprovalAnswer } from '@nexus-agent/protocol';
import { type CliContext, parseJsonOption, withClient } from '../context.ts';
import { exitCodes, UsageError } from '../exit-codes.ts';
import { brief, clean, fields } from '../style.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export async function list(context: CliContext, options: PageFlags & { status: Approval['status'] | 'all' }): Promise<undefined> {
  const filter = { ...pageFlags(options), ...(options.status === 'all' ? {} : { status: options.status }) };
  const page = await withClient(context, (client) => client.approvals.list(filter));
  printPage(context, page, ['ID', 'STATUS', 'WHAT', 'UNTIL', 'RUN'], (approval) => [
    approval.id,
    approval.decision ?? approval.status,
    approval.kind === 'question' ? brief(approval.question ?? '', 70) : `${approval.toolName} ${brief(approval.arguments, 60)}`,
    approval.deadlineAt,
    approval.runId,
  ]);
}

export async function show(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const approval = await withClient(context, (client) => client.approvals.get(id));
  context.print(approval, () => approvalText(context, approval));
}

interface Flags {
  readonly arguments?: string;
  readonly note?: string;
  readonly decision?: 'done' | 'retry' | 'fail' | 'answer';
}

export async function approve(context: CliContext, flags: Flags, id = ''): Promise<number> {
  const edited = flags.arguments === undefined ? {} : { arguments: parseJsonOption(flags.arguments, '--arguments') };
  return decide(context, id, { decision: 'approve', ...edited, ...noteOf(flags) });
}

export async function deny(context: CliContext, flags: Flags, id = ''): Promise<number> {
  return decide(context, id, { decision: 'deny', ...noteOf(flags) });
}

export async function answer(context: CliContext, flags: Flags, id = '', ...words: string[]): Promise<number> {
  const { decision = 'answer' } = flags;
  const result = words.join(' ');
  if (decision === 'answer' && result === '') throw new UsageError('say what the answer is: nexus approvals answer <approval> <text>');
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
      ['question', approval.question === undefined ? undefined : clean(approval.question)],
      ['role', approval.role],
      ['choices', approval.choices.join(', ')],
      ['until', `${approval.deadlineAt}, then ${approval.defaultDecision}`],
      ['decided by', approval.decidedBy],
      ['note', approval.note === undefined ? undefined : clean(approval.note)],
    ],
    out,
  );
  return `${head}\n${clean(JSON.stringify(approval.arguments, null, 2))}`;
}
