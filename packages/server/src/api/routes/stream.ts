import { isTerminal, type Run, WireEvent } from '@nexus-agent/protocol';
import { type Call, localOperator, type RouteAnswer, type RouteResponse, visitor } from '#api/contract';
import { NexusError, settlesWithin, type Timers } from '#core';
import type { StreamCursor } from '#runs';
import type { RouteContext } from './context.ts';

/** What a route that streams may answer, besides the error table. */
export const streamResponses: Readonly<Record<number, RouteResponse>> = {
  200: {
    description: 'Server-sent events. Each `data:` line is one Event; `id:` lines are where the stream can be resumed.',
    events: WireEvent,
  },
  204: { description: 'The run has ended and there is nothing after the event that was named: a reader need not come back.' },
};

/**
 * The stream of a run from the cursor. A reader that has seen the end is answered 204 and not an empty stream: an
 * EventSource comes back after every stream that ends, and only 204 tells it not to.
 */
export function streamAnswer(
  context: RouteContext,
  { services, principal, requestId }: Pick<Call<unknown, unknown>, 'services' | 'principal' | 'requestId'>,
  run: Run,
  { cursor, replayed = false }: { readonly cursor: StreamCursor; readonly replayed?: boolean },
): RouteAnswer {
  // Names of the run and session, known from the head of a stream on.
  const names = { 'nexus-run-id': run.id, 'nexus-session-id': run.sessionId };
  const headers = { ...names, ...(replayed ? { 'idempotent-replayed': 'true' } : {}) };
  if (isTerminal(run.status) && cursor.seq >= run.lastSeq) return { status: 204, headers };
  const follow = (signal: AbortSignal) => {
    return whileKeyStands(services.runs.follow(principal, run.id, cursor, { signal }), { principal, services, timers: context.timers });
  };
  return { stream: (response) => context.openStream({ runId: run.id, requestId, cursor, headers, follow }, response) };
}

/** How often a stream on which nothing happens is held against its key: a run may wait for a person for weeks. */
const lookMs = 2_000;

/** A key that is revoked, or expires, reads no further. A database that does not answer is no reason to cut readers off. */
export function whileKeyStands<F>(
  batches: AsyncIterable<readonly F[]>,
  { principal, services, timers }: Pick<Call<unknown, unknown>, 'principal' | 'services'> & { readonly timers: Pick<Timers, 'after'> },
): AsyncIterable<readonly F[]> {
  if (principal === localOperator || principal === visitor) return batches;
  return whileStanding(batches, () => services.keys.stillStands(principal), timers);
}

async function* whileStanding<F>(
  batches: AsyncIterable<readonly F[]>,
  stands: () => Promise<boolean>,
  timers: Pick<Timers, 'after'>,
): AsyncIterable<readonly F[]> {
  const iterator = batches[Symbol.asyncIterator]();
  const requireKey = async () => {
    if (!(await stands().catch(() => true))) throw new NexusError('unauthenticated', 'the API key was revoked or has expired');
  };
  try {
    for (;;) {
      const next = iterator.next();
      while (!(await settlesWithin(timers, next, lookMs))) await requireKey();
      const step = await next;
      if (step.done === true) return;
      await requireKey();
      yield step.value;
    }
  } finally {
    // Not awaited: one that waits for news ends once whoever reads here aborts it, which is after this.
    iterator.return?.().catch(() => undefined);
  }
}
