import type { ErrorInfo, SessionReading } from '@nexus-agent/protocol';
import { NexusError, toErrorInfo } from '#core';
import { loadState, type RunState, type Transcripts } from '#runs/journal';
import {
  type AgentSource,
  chargeAllOpen,
  commitProposal,
  createRunContext,
  type Engine,
  merge,
  propose,
  proposeRecovery,
  type RunContext,
  type RunFence,
  resumedEvent,
  stoppedEvents,
  withEnding,
} from '#runs/steps';
import type { ClaimedRun, RunRow, SessionRow } from '#storage';
import { poisonous } from './poisonous.ts';
import type { AdoptOptions, DispatchSettings } from './port.ts';

export interface TakeDependencies {
  readonly engine: Engine;
  readonly agents: AgentSource;
  readonly transcripts: Transcripts;
  readonly settings: Pick<DispatchSettings, 'maxDeaths'>;
}

const unwritable: ErrorInfo = { code: 'internal', message: 'what the run did could not be written; see the log', retryable: false };

/**
 * Reads what the journal says of a claimed run and how it goes on from there. Null when the run cannot go on and has been
 * ended, saying so: its agent or model is gone, its work cannot be written (`isBroken`), or it kills its workers. Rejects with what the store
 * throws; the run is then still claimed.
 */
export async function takeRun(dependencies: TakeDependencies, row: ClaimedRun, isBroken: boolean): Promise<AdoptOptions | null> {
  const { engine } = dependencies;
  const fence = { tenantId: row.tenantId, runId: row.runId, epoch: row.epoch, owner: engine.workerId };
  const state = await loadState(engine.store, row.tenantId, row.runId);
  // Nothing more is done with it than that has to be: that may be what kills.
  const poison = poisonous(row, dependencies.settings.maxDeaths);
  if (poison !== null) {
    engine.logger.error({ runId: row.runId, deaths: row.deaths }, 'a run killed its workers and is ended as poisonous');
    return endTaken(engine, fence, row, state, null, poison);
  }
  const session = await engine.store.getSession(row.tenantId, row.sessionId);
  if (session === null) throw new NexusError('not_found', 'the session of the run is not in the store');
  let context: RunContext;
  let reading: SessionReading | null = null;
  try {
    if (isUnread(state)) ({ reading } = await dependencies.transcripts.read(row, row.createdAt));
    context = await contextOf(dependencies, row, session, state, reading);
  } catch (error) {
    if (!(error instanceof NexusError) || error.retryable) throw error;
    return endTaken(engine, fence, row, state, reading, toErrorInfo(error));
  }
  if (isBroken) return endTaken(engine, fence, row, state, reading, unwritable);
  const proposal = merge([
    propose({
      events: [resumedEvent(state, engine.workerId, row.epoch, reading)],
      patch: { status: 'running', waiting: null },
    }),
    proposeRecovery(engine, context, state),
  ]);
  return { context, fence, state, opening: { type: 'taken', proposal } };
}

/** A run that waited in the queue is shown its session as it stands when it begins, and the same from then on. */
function isUnread({ created, reading, step }: RunState): boolean {
  if (step > 0 || reading !== undefined || created === null) return false;
  return created.reading === undefined && created.parent === undefined && created.forkOf === undefined;
}

function contextOf(
  { engine, agents, transcripts }: TakeDependencies,
  row: RunRow,
  session: SessionRow,
  { created, reading }: RunState,
  read: SessionReading | null,
) {
  if (created === null) throw new Error(`the journal of run ${row.runId} does not begin with run.created`);
  return createRunContext(engine, agents, transcripts, {
    row,
    session,
    principal: created.principal,
    reading: created.reading ?? reading ?? read,
    history: created.history,
    filesOf: created.filesOf,
    parent: created.parent ?? null,
    deadlineAt: created.deadlineAt ?? null,
    traceparent: created.traceparent ?? null,
    clientTools: created.clientTools,
  });
}

async function endTaken(
  engine: Engine,
  fence: RunFence,
  row: RunRow,
  state: RunState,
  reading: SessionReading | null,
  error: ErrorInfo,
): Promise<null> {
  const patch = { status: 'failed' as const, error, resumable: true, leaseOwner: null, dueAt: null, waiting: null };
  const before = merge([
    propose({ events: [resumedEvent(state, engine.workerId, row.epoch, reading)] }),
    ...chargeAllOpen(state),
    propose({ patch, wake: row.parentRunId === null ? [] : [row.parentRunId], leaves: row.sessionId }),
  ]);
  const ending = withEnding(state, before, (last) => ({ events: stoppedEvents(last, { type: 'fail', error, resumable: true }) }));
  const result = await commitProposal(engine.store, fence, state, ending);
  // Nothing else counts it, as it was not driven.
  if (result.type === 'committed')
    engine.metrics.runFinished({ status: 'failed', durationMs: engine.clock.now() - row.createdAt, error: error.code });
  return null;
}
