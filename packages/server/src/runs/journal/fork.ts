import type { JournalEvent, NewEvent } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import { nextAction, noLimits } from './next-action.ts';
import { initialState } from './state.ts';
import { transition } from './transitions.ts';

/** Events that tell of the original's workers, money and end: the fork has its own. */
const notCopied: ReadonlySet<JournalEvent['type']> = new Set([
  'run.created',
  'run.started',
  'run.resumed',
  'run.waiting',
  'run.completed',
  'run.failed',
  'run.cancelled',
  'message.completed',
  'budget.reserved',
  'budget.settled',
  'budget.refused',
]);

/**
 * What the journal of a fork begins with after its own `run.created`: the steps of the original up to `afterSeq`. A fork
 * can begin only where nothing is under way, that is before a model call.
 *
 * @param afterSeq default: before the last model call
 */
export function forkEvents(
  journal: readonly JournalEvent[],
  afterSeq: number | undefined,
): { readonly events: readonly NewEvent[]; readonly afterSeq: number } {
  const points: number[] = [];
  /** Calls whose answer was refused at the end of the run and asked again when it was resumed. */
  const refused = new Map<string, number>();
  let answered: string | null = null;
  let state = initialState;
  for (const event of journal) {
    const { messages } = state;
    state = transition(state, event);
    if (event.type === 'model.completed' && event.data.purpose === 'answer') answered = event.data.callId;
    if (event.type === 'run.resumed' && state.messages.length < messages.length && answered !== null) refused.set(answered, event.seq);
    if (state.created !== null && nextAction({ ...state, status: 'running' }, noLimits, new Set()).type === 'model' && state.model === null)
      points.push(event.seq);
  }
  const chosen = afterSeq ?? points.at(-1);
  if (chosen === undefined || !points.includes(chosen)) {
    throw new NexusError('invalid_request', `a run can be forked only before a model call: after event ${points.join(', ')}`, {
      details: { points },
    });
  }
  const isRefused = (event: JournalEvent) => {
    if (event.type !== 'model.started' && event.type !== 'model.completed') return false;
    const until = refused.get(event.data.callId);
    return until !== undefined && until <= chosen && event.seq < until;
  };
  const kept = journal
    .filter((event) => event.seq <= chosen && !notCopied.has(event.type) && !isRefused(event))
    .map(({ type, data }) => ({ type, data }) as NewEvent); // the pair was an event's
  return { events: kept, afterSeq: chosen };
}
