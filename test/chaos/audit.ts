import { isDeepStrictEqual } from 'node:util';
import { type JournalEvent, ReplayResult, type RunId, TenantId, WireEvent } from '@nexus-agent/protocol';
import { toTimestamp } from '../../packages/server/src/core/index.ts';
import type { RunRow } from '../../packages/server/src/storage/index.ts';
import { auditLedger } from '../support/ledger-invariants.ts';
import type { Cluster } from './cluster.ts';
import type { Seen } from './follower.ts';
import type { Effect } from './probes.ts';

const tenantId = TenantId.parse('default');

export function runOf(cluster: Cluster, runId: string): Promise<RunRow | null> {
  return cluster.store.getRun(tenantId, runId as RunId); // given by the server
}

/** The journal as the database holds it, whatever processes say of it. */
export async function journalOf(cluster: Cluster, runId: string): Promise<JournalEvent[]> {
  const events: JournalEvent[] = [];
  for (;;) {
    const range = { after: events.at(-1)?.seq ?? 0, limit: 500 };
    const page = await cluster.store.readEvents(tenantId, runId as RunId, range); // given by the server
    events.push(...page.map(({ type, seq, at, data }) => ({ type, seq, at, data: JSON.parse(data) }) as JournalEvent)); // written together
    if (page.length < range.limit) return events;
  }
}

/** What whichever process answers first says of a replay of the run. */
async function replay(cluster: Cluster, runId: RunId): Promise<ReplayResult> {
  const asked = cluster
    .urls()
    .map((url) => fetch(`${url}/v1/runs/${runId}/replay`, { method: 'POST', signal: AbortSignal.timeout(20_000) }));
  const response = await Promise.any(asked);
  return ReplayResult.parse(await response.json());
}

/**
 * Everything that must hold of a run that ended, however many processes died under it. Answers what is wrong, empty
 * when nothing is.
 */
export async function auditRun(cluster: Cluster, seen: Seen, expected: { readonly output: string }): Promise<string[]> {
  const problems = [...seen.faults];
  const runId = seen.runId as RunId; // given by the server
  const row = await cluster.store.getRun(tenantId, runId);
  if (row === null) return [`run ${runId} is not in the database`];
  const journal = await journalOf(cluster, runId);
  if (row.status !== 'completed') problems.push(`it is ${row.status}: ${JSON.stringify(row.error)}`);
  if (row.output !== expected.output) problems.push(`its answer is ${JSON.stringify(row.output)}`);
  journal.forEach((event, index) => {
    if (event.seq !== index + 1) problems.push(`event ${index + 1} has number ${event.seq}`);
  });
  if (row.lastSeq !== journal.length) problems.push(`the row knows ${row.lastSeq} events, the log has ${journal.length}`);
  problems.push(...auditModelCalls(journal, cluster.simulator.stats().idempotencyKeys));
  problems.push(...auditToolCalls(journal, cluster.effects()));
  problems.push(...(await auditReservations(cluster, runId, journal)));
  problems.push(...auditSeen(runId, journal, seen));
  const { matches, divergedAtSeq } = await replay(cluster, runId);
  if (!matches) problems.push(`replay diverges at event ${divergedAtSeq}`);
  return problems.map((problem) => `${runId}: ${problem}`);
}

/** One answer for each call, nothing asked again after it, and no request that the journal did not announce. */
function auditModelCalls(journal: readonly JournalEvent[], requests: ReadonlyMap<string, number>): string[] {
  const problems: string[] = [];
  const started = new Map<string, number>();
  const answered = new Set<string>();
  for (const event of journal) {
    if (event.type === 'model.started') {
      if (answered.has(event.data.callId)) problems.push(`model call ${event.data.callId} was repeated after its answer`);
      started.set(event.data.callId, (started.get(event.data.callId) ?? 0) + 1);
    }
    if (event.type === 'model.completed') {
      if (answered.has(event.data.callId)) problems.push(`model call ${event.data.callId} was answered twice`);
      answered.add(event.data.callId);
    }
  }
  for (const [callId, attempts] of started) {
    const made = requests.get(callId) ?? 0;
    if (made < 1 || made > attempts) problems.push(`model call ${callId} made ${made} requests in ${attempts} attempts`);
    if (!answered.has(callId)) problems.push(`model call ${callId} has no answer`);
  }
  return problems;
}

/** One result for each call, one effect at most for each attempt, under one key, and none that the journal did not announce. */
function auditToolCalls(journal: readonly JournalEvent[], effects: readonly Effect[]): string[] {
  const problems: string[] = [];
  const attempts = new Map<string, Set<number>>();
  const completed = new Set<string>();
  for (const event of journal) {
    if (event.type === 'tool.started') {
      const { callId, attempt } = event.data;
      if (completed.has(callId)) problems.push(`tool call ${callId} was repeated after its result`);
      const known = attempts.get(callId) ?? new Set();
      if (known.has(attempt)) problems.push(`attempt ${attempt} of tool call ${callId} was started twice`);
      attempts.set(callId, known.add(attempt));
    }
    if (event.type === 'tool.completed') {
      if (completed.has(event.data.callId)) problems.push(`tool call ${event.data.callId} has two results`);
      completed.add(event.data.callId);
    }
  }
  // A call that only waits is executed by nobody.
  const slept = new Set(
    journal.flatMap((event) => (event.type === 'tool.started' && event.data.until !== undefined ? [event.data.callId] : [])),
  );
  for (const [callId, known] of attempts) {
    if (slept.has(callId)) continue;
    const had = effects.filter((effect) => effect.callId === callId);
    for (const { attempt } of had)
      if (!known.has(attempt)) problems.push(`tool call ${callId} ran as attempt ${attempt}, which nobody started`);
    for (const attempt of known) {
      const count = had.filter((effect) => effect.attempt === attempt).length;
      const isLast = attempt === Math.max(...known);
      if (count > 1 || (isLast && count === 0)) problems.push(`attempt ${attempt} of tool call ${callId} had ${count} effects`);
    }
    if (new Set(had.map((effect) => effect.idempotencyKey)).size > 1) problems.push(`tool call ${callId} ran under several keys`);
    if (!completed.has(callId)) problems.push(`tool call ${callId} has no result`);
  }
  return problems;
}

/** Nothing is left reserved, and the journal, the run's row and the ledger name the same cost, tokens and calls. */
export async function auditReservations(cluster: Cluster, runId: RunId, journal: readonly JournalEvent[]): Promise<string[]> {
  const problems: string[] = [];
  const reservations = await cluster.store.listReservations(tenantId, { runId });
  for (const { reservationId, state } of reservations) if (state === 'open') problems.push(`${reservationId} is still open`);
  const reserved = new Set(journal.flatMap((event) => (event.type === 'budget.reserved' ? [event.data.reservationId] : [])));
  for (const { reservationId } of reservations) if (!reserved.has(reservationId)) problems.push(`${reservationId} is not in the journal`);
  if (reserved.size !== reservations.length)
    problems.push(`${reserved.size} reservations in the journal, ${reservations.length} in the ledger`);
  const row = await cluster.store.getRun(tenantId, runId);
  const { items: entries } = await cluster.store.listLedgerEntries(tenantId, { runId }, { limit: 1000 });
  const { inputTokens = 0, outputTokens = 0, costMicroUsd = 0, toolCalls = 0 } = row?.totals ?? {};
  for (const [unit, total] of Object.entries({ tokens: inputTokens + outputTokens, costMicroUsd, toolCalls } as const)) {
    const key = unit as 'tokens' | 'costMicroUsd' | 'toolCalls'; // of the literal above
    const booked = entries.reduce((sum, { amounts }) => sum + (amounts[key] ?? 0), 0);
    const charged = reservations.reduce((sum, { charged }) => sum + (charged?.[key] ?? 0), 0);
    if (total !== booked || total !== charged)
      problems.push(`its totals say ${total} ${unit}, the ledger ${booked}, its reservations ${charged}`);
  }
  const end = journal.findLast((event) => event.type === 'run.completed' || event.type === 'run.failed' || event.type === 'run.cancelled');
  if (!isDeepStrictEqual(end?.data.totals, row?.totals)) problems.push('the totals of its last event are not those of its row');
  return problems;
}

/** What a client was shown is in the log, with the same content, and all of the log fits its schema. */
function auditSeen(runId: RunId, journal: readonly JournalEvent[], seen: Seen): string[] {
  const problems: string[] = [];
  const log = new Map<number, unknown>(journal.map((event) => [event.seq, { ...event, runId, at: toTimestamp(event.at) }]));
  for (const [seq, raw] of seen.events)
    if (!isDeepStrictEqual(log.get(seq), JSON.parse(raw)))
      problems.push(`event ${seq} was shown as ${raw} and is ${JSON.stringify(log.get(seq))}`);
  for (const event of log.values())
    if (!WireEvent.safeParse(event).success) problems.push(`an event does not fit its schema: ${JSON.stringify(event).slice(0, 200)}`);
  return problems;
}

/** The books of all runs together. To be called when no run lives. */
export async function auditBooks(cluster: Cluster): Promise<string[]> {
  const problems = await auditLedger(cluster.store, tenantId);
  const { items } = await cluster.store.listBudgets(tenantId, {}, Date.now(), { limit: 1000 });
  for (const row of items)
    if (row.reserved !== 0) problems.push(`${row.scope.kind} ${row.scope.id} still holds ${row.reserved} ${row.unit}`);
  return problems;
}
