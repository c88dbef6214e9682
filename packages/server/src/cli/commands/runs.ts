import type { Run, RunForkRequest, RunStatus, WireEvent } from '@nexus-agent/protocol';
import type { NexusClient } from '@nexus-agent/sdk';
import { type CliContext, withClient } from '../context.ts';
import { describeEvent, totalsText } from '../describe-event.ts';
import { exitCodes } from '../exit-codes.ts';
import { followRun } from '../follow-run.ts';
import { brief, clean, duration, fields, type Style, usd } from '../style.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export async function list(context: CliContext, options: PageFlags & { session?: string; status?: RunStatus }): Promise<undefined> {
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

export async function show(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const { run, events } = await withClient(context, async (client) => ({
    run: await client.runs.get(id),
    events: await allEvents(client, id),
  }));
  context.print({ run, events }, () =>
    [runText(run, context.out), timeline(events, context.out), outcome(run)].filter((part) => part !== '').join('\n\n'),
  );
}

export async function watch(context: CliContext, { after }: { after?: string }, id = ''): Promise<number> {
  return withClient(context, async (client) => {
    const open = (signal: AbortSignal) => client.runs.stream(id, { signal, ...(after === undefined ? {} : { after }) });
    const { code } = await followRun(context, client, open, { onInterrupt: 'detach', asker: null });
    return code;
  });
}

export async function events(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const all = await withClient(context, (client) => allEvents(client, id));
  for (const event of all) context.io.stdout.write(`${JSON.stringify(event)}\n`);
}

export async function cancel(context: CliContext, { reason }: { reason?: string }, id = ''): Promise<undefined> {
  const run = await withClient(context, (client) => client.runs.cancel(id, reason));
  context.print(run, () => `${run.id} is ${run.status === 'cancelled' ? 'cancelled' : `${run.status}; it is told to stop`}`);
}

export async function resume(context: CliContext, _options: object, id = ''): Promise<undefined> {
  const run = await withClient(context, (client) => client.runs.resume(id));
  context.print(run, () => `${run.id} is ${run.status}; follow it: nexus runs watch ${run.id}`);
}

export async function fork(context: CliContext, options: { after?: number; input?: string; model?: string }, id = ''): Promise<undefined> {
  const request: RunForkRequest = {
    ...(options.after === undefined ? {} : { afterSeq: options.after }),
    ...(options.input === undefined ? {} : { input: options.input }),
    ...(options.model === undefined ? {} : { model: options.model }),
  };
  const run = await withClient(context, (client) => client.runs.fork(id, request));
  context.print(run, () => run.id);
}

export async function replay(context: CliContext, _options: object, id = ''): Promise<number> {
  const result = await withClient(context, (client) => client.runs.replay(id));
  const verdict = result.matches
    ? 'the journal gives the recorded state'
    : `the state differs from event ${result.divergedAtSeq ?? '?'} on`;
  context.print(result, () => `${result.events} events · ${verdict} · ${result.stateHash}`);
  return result.matches ? exitCodes.ok : exitCodes.failure;
}

export async function decisions(context: CliContext, options: PageFlags, id = ''): Promise<undefined> {
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
      ['parent', run.parentRunId],
      ['waits for', run.waitingFor?.approvals?.join(' ') ?? run.waitingFor?.childRuns?.join(' ')],
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
    for (const line of describe(event, style)) lines.push(`${prefix} ${line}`);
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
  return run.output === undefined ? '' : clean(run.output);
}
