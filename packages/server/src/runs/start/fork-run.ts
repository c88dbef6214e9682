import type { JournalData, JournalEvent, RunForkRequest, RunId } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import { type CreateOptions, claimOf, idempotencyConflict, type Principal } from '#identity';
import { startRunSpan } from '#runs/drive';
import { fold, forkEvents, readJournal, type Transcripts, toJournalEvent } from '#runs/journal';
import type { RunRow, SessionRow } from '#storage';
import { mayStart } from './may-start.ts';
import { inputParts, newRun, runLimits, sessionClosed } from './rows.ts';
import type { StartDependencies } from './start-run.ts';

export type Forked =
  /** Written and in the queue: the caller wakes it. */
  | { readonly type: 'forked'; readonly row: RunRow }
  /** The same request under the same idempotency key made this run before. */
  | { readonly type: 'existing'; readonly runId: string };

/** Writes a new run that goes on from an event of another one, which stays as it is. Throws `invalid_request` where a run cannot be forked. */
export async function forkRun(
  { engine, agents, transcripts }: Omit<StartDependencies, 'defaultAgent'>,
  principal: Principal,
  source: { readonly original: RunRow; readonly session: SessionRow },
  request: RunForkRequest,
  options: CreateOptions,
): Promise<Forked> {
  const { original, session } = source;
  const { tenantId } = principal;
  const journal: JournalEvent[] = [];
  for await (const stored of readJournal(engine.store, tenantId, original.runId)) journal.push(toJournalEvent(stored));
  const first = journal[0];
  if (first?.type !== 'run.created') throw new NexusError('replay_diverged', 'the journal does not begin with run.created');
  const agent = await agents.get(tenantId, original.agent, original.agentVersion);
  const runId = engine.ids.next<RunId>('run');
  const model = request.model ?? original.model ?? undefined;
  const span = startRunSpan(engine.tracer, { runId, tenantId, sessionId: session.sessionId, agent: agent.name }, undefined);
  span.end();
  const { traceparent, traceId } = span;
  const decision = await mayStart(engine, principal, { runId, agent: agent.name, sessionId: session.sessionId });
  const reading = await readingOfOriginal(transcripts, original, journal);
  const { parent: _parent, deadlineAt: _deadline, budget: _budget, model: _model, ...kept } = first.data;
  const created = (forked: { afterSeq: number; copied: number }): JournalData<'run.created'> => ({
    ...kept,
    ...(reading === undefined ? {} : { reading }),
    ...(model === undefined ? {} : { model }),
    ...(request.budget === undefined ? {} : { budget: request.budget }),
    ...(request.input === undefined ? {} : { input: inputParts({ input: request.input }) }),
    principal: principal.id,
    forkOf: { runId: original.runId, ...forked },
    traceparent,
    decision: decision.record,
  });
  const { events } = forkEvents(journal, created, request.afterSeq);
  const row = newRun(engine, session, agent, runId, { model, budget: request.budget, traceId });
  const result = await engine.store.commit({
    tenantId,
    ...claimOf(principal, options, `fork:${original.runId}`, request, runId),
    openSession: session.sessionId,
    place: { whileBusy: 'begin' },
    createRun: row,
    ledger: runLimits(runId, request.budget, agent.definition.budget),
    decisions: [decision.row],
    events,
  });
  if (result.type === 'duplicate') {
    if (!result.sameRequest) throw idempotencyConflict();
    return { type: 'existing', runId: result.resourceId };
  }
  if (result.type === 'closed') throw sessionClosed(session.sessionId);
  if (result.type !== 'committed') throw new NexusError('internal', `the fork could not be written (${result.type})`);
  return { type: 'forked', row: { ...row, lastSeq: result.events.length, createdAt: result.placed?.createdAt ?? row.createdAt } };
}

/** What the original was shown, or would have been. */
async function readingOfOriginal(transcripts: Transcripts, original: RunRow, journal: readonly JournalEvent[]) {
  const state = fold(journal);
  const known = state.created?.reading ?? state.reading;
  if (known !== undefined || state.step > 0 || original.parentRunId !== null) return known;
  return (await transcripts.read(original, original.createdAt)).reading;
}
