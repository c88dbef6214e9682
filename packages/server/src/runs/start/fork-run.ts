import type { JournalData, JournalEvent, RunForkRequest, RunId } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import { type CreateOptions, claimOf, type Principal } from '#identity';
import { startRunSpan } from '#runs/drive';
import { fold, forkEvents, readJournal, type Transcripts, toJournalEvent } from '#runs/journal';
import type { Commit, RunRow, SessionRow } from '#storage';
import { type BeginDependencies, beginRun, type StartedRun } from './begin-run.ts';
import { filesAsOf } from './fork-files.ts';
import { mayStart } from './may-start.ts';
import { inputParts, newRun, requireModel, runLimits } from './rows.ts';

/**
 * Begins a new run that goes on from an event of another one, which stays as it is; everything that holds for a run that is started holds
 * for it: see {@link beginRun}. Throws `invalid_request` where a run cannot be forked.
 */
export async function forkRun(
  dependencies: BeginDependencies,
  principal: Principal,
  source: { readonly original: RunRow; readonly session: SessionRow },
  request: RunForkRequest,
  { here, ...options }: CreateOptions & { readonly here: boolean },
): Promise<StartedRun> {
  const { engine, agents, transcripts } = dependencies;
  const { original, session } = source;
  const { tenantId } = principal;
  const journal: JournalEvent[] = [];
  for await (const stored of readJournal(engine.store, tenantId, original.runId)) journal.push(toJournalEvent(stored));
  const first = journal[0];
  if (first?.type !== 'run.created') throw new NexusError('replay_diverged', 'the journal does not begin with run.created');
  const agent = await agents.get(tenantId, original.agent, original.agentVersion);
  const runId = engine.ids.next<RunId>('run');
  const model = request.model ?? original.model ?? undefined;
  await requireModel(engine, model);
  const decision = await mayStart(engine, principal, { runId, agent, sessionId: session.sessionId });
  const reading = await readingOfOriginal(transcripts, original, journal);
  const span = startRunSpan(engine.tracer, { runId, tenantId, sessionId: session.sessionId, agent: agent.name }, undefined);
  const { parent: _parent, deadlineAt: _deadline, budget: _budget, model: _model, ...kept } = first.data;
  const { afterSeq, events } = forkEvents(journal, request.afterSeq);
  const created: JournalData<'run.created'> = {
    ...kept,
    ...(reading === undefined ? {} : { reading }),
    ...(model === undefined ? {} : { model }),
    ...(request.budget === undefined ? {} : { budget: request.budget }),
    ...(request.input === undefined ? {} : { input: inputParts({ input: request.input }) }),
    principal: principal.id,
    forkOf: { runId: original.runId, afterSeq },
    filesOf: runId,
    copied: events.length,
    traceparent: span.traceparent,
    decision: decision.record,
  };
  const files = await filesAsOf(engine.store, original, journal, afterSeq);
  const base: Commit = {
    tenantId,
    ...claimOf(principal, options, `fork:${original.runId}`, request, runId),
    openSession: session.sessionId,
    ledger: runLimits(runId, request.budget, agent.definition.budget),
    decisions: [decision.row],
    ...(files === null ? {} : { copyFiles: { sessionId: session.sessionId, from: files, to: runId } }),
  };
  const row = newRun(engine, session, agent, runId, {
    model,
    budget: request.budget,
    traceId: span.traceId,
    user: original.user,
    project: original.project,
  });
  return beginRun(
    dependencies,
    { principal, base, session, isNewSession: false, row, created, forked: events, whileBusy: 'parallel', span },
    here,
  );
}

/** What the original was shown, or would have been. */
async function readingOfOriginal(transcripts: Transcripts, original: RunRow, journal: readonly JournalEvent[]) {
  const state = fold(journal);
  const known = state.created?.reading ?? state.reading;
  if (known !== undefined || state.step > 0 || original.parentRunId !== null) return known;
  return (await transcripts.read(original, original.createdAt)).reading;
}
