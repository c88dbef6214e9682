import type { DecisionRecord, Run } from '@nexus-agent/protocol';
import { check, type Demo, journalOf, ofType, type WireJournalEvent } from './demo.ts';
import { modelName } from './narrator.ts';
import { counted, dollars, grouped, oneLine } from './words.ts';

interface Account {
  readonly run: Run;
  readonly journal: readonly WireJournalEvent[];
  readonly decisions: readonly DecisionRecord[];
  readonly reservedMicroUsd: number;
  readonly settledMicroUsd: number;
  readonly reservations: number;
  /** Reservations without exactly one settlement. */
  readonly open: number;
  readonly replayMatches: boolean;
}

/** What was spent, decided and traced, read back from the server. */
export async function closingScene(demo: Demo): Promise<void> {
  const { stage, client, config, runs, signal } = demo;
  const { style } = stage;
  const accounts = await Promise.all(runs.map((id) => account(demo, id)));
  const sessions = [...new Set(accounts.map(({ run }) => run.sessionId))];
  const balances = await Promise.all(sessions.map((id) => client.sessions.get(id, { signal })));
  const ledgerMicroUsd = balances.reduce((sum, { budget }) => sum + (budget.spent.costMicroUsd ?? 0), 0);
  const heldMicroUsd = balances.reduce((sum, { budget }) => sum + (budget.reserved.costMicroUsd ?? 0), 0);
  const total = accounts.reduce((sum, { run }) => sum + run.totals.costMicroUsd, 0);

  stage.line(style('bold', 'Spent'));
  stage.table(
    ['run', 'agent', 'status', 'calls', 'tokens', 'reserved', 'settled', 'replay'],
    accounts.map(({ run, ...row }) => [
      `…${run.id.slice(-6)}`,
      run.agent,
      run.status,
      `${grouped(run.totals.modelCalls)} + ${grouped(run.totals.toolCalls)}`,
      grouped(run.totals.inputTokens + run.totals.outputTokens),
      dollars(row.reservedMicroUsd),
      dollars(row.settledMicroUsd),
      row.replayMatches ? style('green', '✓ same') : style('red', '✗ differs'),
    ]),
    [3, 4, 5, 6],
  );
  const settled = accounts.reduce((sum, row) => sum + row.settledMicroUsd, 0);
  const reservations = accounts.reduce((sum, row) => sum + row.reservations, 0);
  const balanced = settled === ledgerMicroUsd && heldMicroUsd === 0 && accounts.every(({ open }) => open === 0) && total === settled;
  stage.line(
    `${balanced ? style('green', '✓ balanced') : style('red', '✗ not balanced')} · ${counted(reservations, 'reservation')}: ` +
      `journals ${dollars(settled)}, ledger ${dollars(ledgerMicroUsd)}, still reserved ${dollars(heldMicroUsd)}`,
  );

  const decisions = accounts.flatMap((row) => row.decisions);
  const answers = accounts.flatMap(({ journal }) => ofType(journal, 'approval.decided'));
  const of = (effect: DecisionRecord['effect']) => decisions.filter((decision) => decision.effect === effect);
  stage.line();
  stage.line(style('bold', 'Decided'));
  stage.fields([
    [
      'policy',
      `${counted(decisions.length, 'decision')}: ${of('allow').length} allowed, ${of('deny').length} denied, ${of('require_approval').length} sent to a person`,
    ],
    [
      'people',
      answers.map(({ data }) => `${data.decision} by ${data.decidedBy}${data.note === undefined ? '' : ` (“${data.note}”)`}`).join(', '),
    ],
    ...of('deny')
      .slice(0, 1)
      .map((denied) => ['denied', explain(denied)] as const),
  ]);

  const traces = accounts.map(({ run }) => run.traceId ?? '');
  const models = new Set(
    accounts.flatMap(({ journal }) => ofType(journal, 'model.completed')).map(({ data }) => modelName(data.provider, data.model)),
  );
  const endpoint = config.otlp?.endpoint;
  const exported = endpoint === undefined ? 'set OTEL_EXPORTER_OTLP_ENDPOINT to export them' : `exported to ${endpoint}`;
  const events = accounts.reduce((sum, { journal }) => sum + journal.length, 0);
  const matching = accounts.filter(({ replayMatches }) => replayMatches).length;
  stage.line();
  stage.line(style('bold', 'Traced'));
  stage.fields([
    ['traces', `${counted(new Set(traces).size, 'trace')}, one per run, also across the restart and the crash; ${exported}`],
    ...pairs(traces).map((pair) => ['', pair.join('  ')] as const),
    [
      'journal',
      `${counted(events, 'event')}; replayed through the same code: ${matching} of ${accounts.length} runs give the recorded state`,
    ],
    ['answered by', [...models].join(', ')],
  ]);

  check(balanced, 'balanced budgets');
  check(matching === accounts.length, 'every replay to match');
  check(new Set(traces).size === accounts.length && traces.every((id) => /^[0-9a-f]{32}$/.test(id)), 'a trace for every run');
  check(of('deny').length > 0 && answers.length > 0, 'a denial and an approval');
}

async function account(demo: Demo, runId: string): Promise<Account> {
  const { client, signal } = demo;
  const [run, journal, decisions, replay] = await Promise.all([
    client.runs.get(runId, { signal }),
    journalOf(demo, runId),
    allDecisions(demo, runId),
    client.runs.replay(runId, { signal }),
  ]);
  const reserved = ofType(journal, 'budget.reserved');
  const settled = ofType(journal, 'budget.settled');
  const cost = (events: readonly { data: { amounts: { costMicroUsd?: number | undefined } } }[]) =>
    events.reduce((sum, { data }) => sum + (data.amounts.costMicroUsd ?? 0), 0);
  const open = reserved.filter(({ data }) => settled.filter((event) => event.data.reservationId === data.reservationId).length !== 1);
  return {
    run,
    journal,
    decisions,
    reservedMicroUsd: cost(reserved),
    settledMicroUsd: cost(settled),
    reservations: reserved.length,
    open: open.length,
    replayMatches: replay.matches,
  };
}

async function allDecisions({ client, signal }: Demo, runId: string): Promise<DecisionRecord[]> {
  const all: DecisionRecord[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.runs.decisions(runId, { limit: 200, signal, ...(cursor === undefined ? {} : { cursor }) });
    all.push(...page.data);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return all;
}

function explain({ principal, action, resource, reasons, policyVersion }: DecisionRecord): string {
  return `${oneLine(principal, 40)} → ${action} on ${oneLine(resource, 40)}, because of ${oneLine(reasons.join(' and '), 120)} (policies ${policyVersion.slice(0, 12)})`;
}

function pairs<T>(items: readonly T[]): T[][] {
  return items.flatMap((_, index) => (index % 2 === 0 ? [items.slice(index, index + 2)] : []));
}
