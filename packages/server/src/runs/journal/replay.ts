import type { JournalEvent, ReplayResult, RunId, TenantId } from '@nexus-agent/protocol';
import { canonicalJson, NexusError } from '#core';
import type { RunRow, Store } from '#storage';
import { nextAction, noLimits } from './next-action.ts';
import { initialState, type RunState } from './state.ts';
import { readJournal, toJournalEvent } from './transcript.ts';
import { stateHash, transition } from './transitions.ts';

/**
 * Feeds a journal through the transitions with no effects and compares: every call that was started must be one that
 * the state before it asks for, every end must carry the hash of the state it was written in, and the result must be
 * what the run's row says. The first event that does not fit is named.
 */
export async function replayRun(store: Store, tenantId: TenantId, row: RunRow): Promise<ReplayResult> {
  const runId: RunId = row.runId;
  let state = initialState;
  let divergedAtSeq: number | undefined;
  for await (const stored of readJournal(store, tenantId, runId)) {
    if (stored.seq > row.lastSeq) break; // written since the row was read
    const event = toJournalEvent(stored);
    try {
      if (!follows(state, event)) divergedAtSeq ??= event.seq;
      state = transition(state, event);
    } catch (error) {
      if (!(error instanceof NexusError)) throw error;
      divergedAtSeq ??= event.seq;
      break;
    }
  }
  if (divergedAtSeq === undefined && !sameAsRow(state, row)) divergedAtSeq = state.lastSeq;
  return {
    runId,
    events: state.lastSeq,
    status: state.status,
    stateHash: stateHash(state),
    matches: divergedAtSeq === undefined,
    ...(divergedAtSeq === undefined ? {} : { divergedAtSeq }),
  };
}

function follows(state: RunState, event: JournalEvent): boolean {
  switch (event.type) {
    case 'model.started':
      return nextAction(state, noLimits, new Set()).type === 'model';
    case 'tool.started': {
      const call = state.calls.find((candidate) => candidate.callId === event.data.callId);
      return call?.phase.type === 'requested' || call?.phase.type === 'decided' || call?.phase.type === 'suspended';
    }
    case 'run.completed':
    case 'run.failed':
    case 'run.cancelled':
      return event.data.stateHash === stateHash(state) && canonicalJson(event.data.totals) === canonicalJson(state.totals);
    default:
      return true;
  }
}

function sameAsRow(state: RunState, row: RunRow): boolean {
  if (state.lastSeq !== row.lastSeq) return false;
  const status = row.status === 'queued' || row.status === 'running' ? state.status : row.status;
  return status === state.status && (row.status !== 'completed' || row.output === state.output);
}
