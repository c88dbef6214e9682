import type { ErrorInfo } from '@nexus-agent/protocol';
import { NexusError, toErrorInfo } from '#core';
import { loadState, type RunState, type Transcripts } from '#runs/journal';
import {
  type AgentSource,
  charge,
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
import type { RunRow, SessionRow } from '#storage';
import type { AdoptOptions } from './port.ts';

export interface TakeDependencies {
  readonly engine: Engine;
  readonly agents: AgentSource;
  readonly transcripts: Transcripts;
}

const unwritable: ErrorInfo = { code: 'internal', message: 'what the run did could not be written; see the log', retryable: false };

/**
 * Reads what the journal says of a claimed run and how it goes on from there. Null when the run cannot go on and has been
 * ended, saying so: its agent or model is gone, or its work cannot be written (`isBroken`). Rejects with what the store
 * throws; the run is then still claimed.
 */
export async function takeRun(dependencies: TakeDependencies, row: RunRow, isBroken: boolean): Promise<AdoptOptions | null> {
  const { engine } = dependencies;
  const fence = { tenantId: row.tenantId, runId: row.runId, epoch: row.epoch, owner: engine.workerId };
  const state = await loadState(engine.store, row.tenantId, row.runId);
  const session = await engine.store.getSession(row.tenantId, row.sessionId);
  if (session === null) throw new NexusError('not_found', 'the session of the run is not in the store');
  let context: RunContext;
  try {
    context = await contextOf(dependencies, row, session, state);
  } catch (error) {
    if (!(error instanceof NexusError) || error.retryable) throw error;
    return endTaken(engine, fence, row, state, toErrorInfo(error));
  }
  if (isBroken) return endTaken(engine, fence, row, state, unwritable);
  const proposal = merge([
    propose({ events: [resumedEvent(state, engine.workerId, row.epoch)], patch: { status: 'running', waiting: null } }),
    proposeRecovery(engine, context, state),
  ]);
  return { context, fence, state, opening: { type: 'taken', proposal } };
}

function contextOf({ engine, agents, transcripts }: TakeDependencies, row: RunRow, session: SessionRow, { created }: RunState) {
  if (created === null) throw new Error(`the journal of run ${row.runId} does not begin with run.created`);
  return createRunContext(engine, agents, transcripts, {
    row,
    session,
    principal: created.principal,
    history: created.history,
    parent: created.parent ?? null,
    deadlineAt: created.deadlineAt ?? null,
    traceparent: created.traceparent ?? null,
  });
}

async function endTaken(engine: Engine, fence: RunFence, row: RunRow, state: RunState, error: ErrorInfo): Promise<null> {
  const patch = { status: 'failed' as const, error, resumable: true, leaseOwner: null, dueAt: null, waiting: null };
  const before = merge([
    propose({ events: [resumedEvent(state, engine.workerId, row.epoch)] }),
    ...Object.keys(state.openReservations).map(charge),
    propose({ patch, wake: row.parentRunId === null ? [] : [row.parentRunId] }),
  ]);
  const ending = withEnding(state, before, (last) => ({ events: stoppedEvents(last, { type: 'fail', error, resumable: true }) }));
  await commitProposal(engine.store, fence, state.lastSeq, ending);
  return null;
}
