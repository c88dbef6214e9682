import type { Run, RunForkRequest, RunStatus, WireEvent } from '@nexus-agent/protocol';
import type { NexusClient } from '@nexus-agent/sdk';
import { Option } from 'commander';
import { visibleLine } from '#core/visible';
import { type CliContext, withClient } from '../context.ts';
import { describeEvent, totalsText } from '../describe-event.ts';
import { exitCodeOf, exitCodes } from '../exit-codes.ts';
import { brief, duration, fields, type Style, usd } from '../style.ts';
import { type Registrar, wholeNumber, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export function runCommands({ program, action }: Registrar): void {
  const group = program.command('runs').description('runs and their journals');
  withPages(group.command('list', { isDefault: true }).description('list runs'))
    .option('--session <session>', 'only of this session')
    .addOption(new Option('--status <status>', 'only with this status').choices(statuses))
    .action(action(list));
  group.command('show').description('show a run with its timeline').argument('<run>').action(action(show));
  group
    .command('watch')
    .description('follow a run; leaving does not cancel it')
    .argument('<run>')
    .option('--after <event>', 'begin after this event id')
    .action(action(watch));
  group.command('events').description('print the journal, one JSON event a line').argument('<run>').action(action(events));
  group
    .command('cancel')
    .description('stop a run')
    .argument('<run>')
    .option('--reason <text>', 'kept in the journal')
    .action(action(cancel));
  group.command('resume').description('continue a failed run').argument('<run>').action(action(resume));
  group
    .command('fork')
    .description('start a new run from an event of this one')
    .argument('<run>')
    .option('--after <event>', 'last event to keep (default: the last finished step)', wholeNumber)
    .option('--input <text>', 'another input')
    .option('--model <model>', 'another model')
    .action(action(fork));
  group.command('calls').description('list the calls whose results the client is to give').argument('<run>').action(action(clientCalls));
  group
    .command('give')
    .description('give the result of a call of a client tool')
    .argument('<run>')
    .argument('<call>')
    .argument('[output]', 'what the model is to read')
    .option('--error <text>', 'why it failed, in place of an output')
    .action(action(give));
  group.command('replay').description('replay the journal and compare the state').argument('<run>').action(action(replay));
  withPages(group.command('decisions').description('what policy decided, and why').argument('<run>')).action(action(decisions));
}

const statuses = ['queued', 'running', 'waiting', 'completed', 'failed', 'cancelled'] satisfies RunStatus[];

async function list(context: CliContext, options: PageFlags & { session?: string; status?: RunStatus }): Promise<undefined> {
  const { session, status } = options;
  const filter = {
    ...pageFlags(options),
    ...(session === undefined ? {} : { sessionId: session }),
    ...(status === undefined ? {} : { status }),
  };
  const page = await withClient(context, (client) => client.runs.list(filter));
  printPage(context, page, ['ID', 'AGENT', 'STATUS', 'STEP', 'COST', 'CREATED'], (run) => [
    run.id,
    run.agent,
    run.status,
    String(run.step),
    usd(run.totals.costMicroUsd),
    run.createdAt,
  ]);
}

async function show(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const { run, events } = await withClient(context, async (client) => ({
    run: await client.runs.get(id),
    events: await allEvents(client, id),
  }));
  context.print({ run, events }, () =>
    [runText(run, context.out), timeline(events, context.out), outcome(run)].filter((part) => part !== '').join('\n\n'),
  );
}

async function clientCalls(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const page = await withClient(context, (client) => client.runs.clientCalls(id));
  printPage(context, page, ['CALL', 'TOOL', 'UNTIL', 'ARGUMENTS'], (call) => [
    call.callId,
    call.name,
    call.deadlineAt,
    JSON.stringify(call.arguments),
  ]);
}

async function give(context: CliContext, options: { error?: string }, id = '', callId = '', output?: string): Promise<undefined> {
  const { NexusError } = await import('#core');
  if ((output === undefined) === (options.error === undefined))
    throw new NexusError('invalid_request', 'expected an output or --error TEXT: what the model is to read of the call');
  const result = options.error === undefined ? { output: output ?? '' } : { error: options.error };
  const run = await withClient(context, (client) => client.runs.giveResult(id, callId, result));
  context.print(run, () => `${run.id} has the result of ${callId}`);
}

async function watch(context: CliContext, { after }: { after?: string }, id = ''): Promise<number> {
  const { followRun } = await import('../follow-run.ts');
  return withClient(context, async (client) => {
    const open = (signal: AbortSignal) => client.runs.stream(id, { signal, ...(after === undefined ? {} : { after }) });
    const { code, silent } = await followRun(context, client, open, { onInterrupt: 'detach', asker: null });
    if (!silent) return code;
    const run = await client.runs.get(id);
    context.note(`${run.id} is ${run.status}; nothing came after event ${after ?? 0}`);
    return run.status === 'completed' ? exitCodes.ok : exitCodeOf(run.error?.code ?? run.status);
  });
}

async function events(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const all = await withClient(context, (client) => allEvents(client, id));
  for (const event of all) context.io.stdout.write(`${JSON.stringify(event)}\n`);
}

async function cancel(context: CliContext, { reason }: { reason?: string }, id = ''): Promise<undefined> {
  const run = await withClient(context, (client) => client.runs.cancel(id, reason));
  const { isTerminal } = await import('@nexus-agent/protocol');
  const isOther = run.status !== 'cancelled' && isTerminal(run.status);
  const told = isOther ? `${run.status} already: there is nothing to stop` : `${run.status}; it is told to stop`;
  context.print(run, () => `${run.id} is ${run.status === 'cancelled' ? 'cancelled' : told}`);
}

async function resume(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const run = await withClient(context, (client) => client.runs.resume(id));
  context.print(run, () => `${run.id} is ${run.status}; follow it: nexus runs watch ${run.id}`);
}

async function fork(context: CliContext, options: { after?: number; input?: string; model?: string }, id = ''): Promise<undefined> {
  const request: RunForkRequest = {
    ...(options.after === undefined ? {} : { afterSeq: options.after }),
    ...(options.input === undefined ? {} : { input: options.input }),
    ...(options.model === undefined ? {} : { model: options.model }),
  };
  const run = await withClient(context, (client) => client.runs.fork(id, request));
  context.print(run, () => run.id);
}

async function replay(context: CliContext, _options: object, id = ''): Promise<number> {
  const result = await withClient(context, (client) => client.runs.replay(id));
  const verdict = result.matches
    ? 'the journal gives the recorded state'
    : `the state differs from event ${result.divergedAtSeq ?? '?'} on`;
  context.print(result, () => `${result.events} events · ${verdict} · ${result.stateHash}`);
  return result.matches ? exitCodes.ok : exitCodes.failure;
}

async function decisions(context: CliContext, options: PageFlags, id = ''): Promise<undefined> {
  const page = await withClient(context, (client) => client.runs.decisions(id, pageFlags(options)));
  printPage(context, page, ['EFFECT', 'ACTION', 'RESOURCE', 'REASONS', 'POLICY'], (decision) => [
    decision.effect,
    decision.action,
    brief(decision.resource, 60),
    brief([...decision.reasons, ...(decision.errors ?? [])].join(', '), 60),
    decision.policyVersion.slice(0, 12),
  ]);
}

async function allEvents(client: NexusClient, id: string): Promise<WireEvent[]> {
  const all: WireEvent[] = [];
  let after: string | null = null;
  do {
    const page: { data: WireEvent[]; nextCursor: string | null } = await client.runs.events(id, {
      limit: 1000,
      ...(after === null ? {} : { after }),
    });
    all.push(...page.data);
    after = page.nextCursor;
  } while (after !== null);
  return all;
}

function runText(run: Run, style: Style): string {
  return fields(
    [
      ['run', run.id],
      ['status', run.status],
      ['session', run.sessionId],
      ['agent', `${run.agent} (${run.agentVersion})`],
      ['model', run.model],
      ['user', run.user],
      ['project', run.project],
      ['parent', run.parentRunId],
      [
        'waits for',
        run.waitingFor?.approvals?.join(' ') ??
          run.waitingFor?.childRuns?.join(' ') ??
          run.waitingFor?.clientCalls?.join(' ') ??
          run.waitingFor?.until ??
          run.waitingFor?.behind,
      ],
      ['totals', totalsText(run.totals)],
      ['trace', run.traceId],
      ['created', run.createdAt],
    ],
    style,
  );
}

/** The journal with the time since the run began, and for each model call what it took and cost. */
function timeline(events: readonly WireEvent[], style: Style): string {
  let startedAt: number | null = null;
  const lines: string[] = [];
  for (const event of events) {
    if (!('at' in event)) continue;
    startedAt ??= Date.parse(event.at);
    const prefix = style(
      'dim',
      `${`+${((Date.parse(event.at) - startedAt) / 1000).toFixed(2)}s`.padStart(9)} ${`#${event.seq}`.padEnd(5)}`,
    );
    for (const line of describe(event, style)) lines.push(`${prefix} ${visibleLine(line)}`);
  }
  return lines.join('\n');
}

function describe(event: WireEvent, style: Style): string[] {
  if (event.type === 'model.completed') {
    const { usage, costMicroUsd, durationMs, finishReason } = event.data;
    return [
      `  ${style('green', '✓')} answer · ${usage.inputTokens} in, ${usage.outputTokens} out · ${usd(costMicroUsd)} · ${duration(durationMs)} · ${finishReason}`,
    ];
  }
  if (event.type === 'tool.started') {
    const { decision } = event.data;
    return [...describeEvent(event, style), style('dim', `    ${decision.effect} by ${brief(decision.reasons.join(', ') || 'no policy')}`)];
  }
  return describeEvent(event, style);
}

function outcome(run: Run): string {
  return run.output === undefined ? '' : run.output;
}
