import type { Clock } from './clock.ts';
import { NexusError } from './errors.ts';
import type { Cancel, Timers } from './timers.ts';
import { createTurns, type Holder, type Ticket, type TurnPlace, type TurnPlaces } from './turns.ts';

export type { Holder } from './turns.ts';

/** How somebody's wait for a place ended. `refused`: as many waited as may, so that there was no wait. */
export type WaitOutcome = 'served' | 'timed_out' | 'cancelled' | 'refused';

/** Hears how long the queue is and how each wait ended. Must not throw. */
export interface WaitObserver {
  depth(waiting: number): void;
  ended(outcome: WaitOutcome, waitedMs: number): void;
}

export interface SharesOptions extends TurnPlaces {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'after'>;
  /** What is shared, in the plural: for refusals. */
  readonly what: string;
  /** Nobody waits longer than this for a place. */
  readonly maxWaitMs: number;
  /**
   * So many may wait in this process, as a bound of its memory: what waits is otherwise bounded by time. A tenant may have as many of them
   * waiting as there is room left, so that one alone has half of it and there is always some for others.
   */
  readonly maxWaiting: number;
  /** The settings that say how long and how many may wait. */
  readonly settings: { readonly maxWaitMs: string; readonly maxWaiting: string };
  readonly observer?: WaitObserver | undefined;
}

/** A place, and how long it was waited for. `leave` gives it up; twice does nothing. */
export interface Entry {
  readonly waitedMs: number;
  leave(): void;
}

export interface Shares {
  /**
   * A place, once it is the turn of the holder. Throws `rate_limited`, which may be tried again, when `maxWaitMs` or the time of the call
   * (its signal fires with `tool_timeout`) is over before that, or when as many wait as may; else the reason of the signal.
   */
  enter(holder: Holder, signal?: AbortSignal): Promise<Entry>;
  /** A place at once, or null where it would have to be waited for. */
  enterNow(holder: Holder): Entry | null;
  readonly inUse: number;
  readonly waiting: number;
  /** Ends all waiting with this error; nobody gets a place any more. */
  close(error: Error): void;
}

/** Who waits. It holds what it takes to answer and nothing of what is to be done. */
interface Waiter {
  readonly enter: (place: TurnPlace<Waiter>) => void;
  readonly fail: (outcome: WaitOutcome, error: unknown) => void;
}

/** Places of something that all tenants share, given out in turns as {@link createTurns} has them. */
export function createShares(options: SharesOptions): Shares {
  const { clock, timers, maxWaitMs, maxWaiting, observer } = options;
  const turns = createTurns<Waiter>(options);
  const everybody = new Set<Waiter>();
  let closed: Error | undefined;

  function entryOf(place: TurnPlace<Waiter>, waitedMs: number): Entry {
    observer?.ended('served', waitedMs);
    return {
      waitedMs,
      leave() {
        turns.release(place);
        serve();
      },
    };
  }

  /** Gives out what is free, in turn. */
  function serve(): void {
    if (closed !== undefined) return;
    for (let turn = turns.next(); turn !== null; turn = turns.next()) turn.waiter.enter(turn.place);
  }

  function waitFor(holder: Holder, signal: AbortSignal | undefined): Promise<Entry> {
    const startedAt = clock.monotonic();
    const waited = () => Math.max(0, clock.monotonic() - startedAt);
    return new Promise<Entry>((resolve, reject) => {
      const over = () => {
        cancelTimer();
        signal?.removeEventListener('abort', onAbort);
        everybody.delete(waiter);
        observer?.depth(turns.waiting);
      };
      const waiter: Waiter = {
        enter(place) {
          over();
          resolve(entryOf(place, waited()));
        },
        fail(outcome, error) {
          turns.leave(ticket);
          over();
          observer?.ended(outcome, waited());
          reject(error);
          // Whoever left may have kept the place from others of whom one is free for it.
          serve();
        },
      };
      const onAbort = () => {
        const isTimeUp = signal?.reason instanceof NexusError && signal.reason.code === 'tool_timeout';
        if (isTimeUp) waiter.fail('timed_out', tooLong(options, turns, waited(), 'the call has no more time'));
        else waiter.fail('cancelled', signal?.reason);
      };
      const onTime = () =>
        waiter.fail('timed_out', tooLong(options, turns, waited(), `nothing waits longer (${options.settings.maxWaitMs})`));
      const cancelTimer: Cancel = timers.after(maxWaitMs, onTime);
      const ticket: Ticket<Waiter> = turns.join(holder, waiter);
      everybody.add(waiter);
      signal?.addEventListener('abort', onAbort, { once: true });
      observer?.depth(turns.waiting);
    });
  }

  return {
    get inUse() {
      return turns.inUse;
    },
    get waiting() {
      return turns.waiting;
    },
    enterNow(holder) {
      if (closed !== undefined) return null;
      const place = turns.take(holder);
      return place === null ? null : entryOf(place, 0);
    },
    async enter(holder, signal) {
      if (closed !== undefined) throw closed;
      signal?.throwIfAborted();
      const place = turns.take(holder);
      if (place !== null) return entryOf(place, 0);
      if (turns.waitingOf(holder.tenantId) >= maxWaiting - turns.waiting) {
        observer?.ended('refused', 0);
        throw tooMany(options, turns, holder);
      }
      return waitFor(holder, signal);
    },
    close(error) {
      closed = error;
      for (const waiter of [...everybody]) waiter.fail('cancelled', error);
    },
  };
}

function tooLong(
  { what, maxWaitMs }: SharesOptions,
  { waiting, inUse }: { readonly waiting: number; readonly inUse: number },
  waitedMs: number,
  why: string,
): NexusError {
  const seconds = (waitedMs / 1_000).toFixed(1);
  return new NexusError(
    'rate_limited',
    `it waited ${seconds} s for its turn among the ${what} of this process, and ${why}; it did not begin: try again later, or fewer at a time`,
    { details: { what, limit: maxWaitMs, waitedMs: Math.round(waitedMs), used: waiting, running: inUse }, retryAfterMs: 1_000 },
  );
}

function tooMany(
  { what, maxWaiting, settings, maxWaitMs }: SharesOptions,
  turns: { readonly waiting: number; readonly inUse: number; waitingOf(tenantId: string): number },
  { tenantId }: Holder,
): NexusError {
  const used = turns.waitingOf(tenantId);
  return new NexusError(
    'rate_limited',
    `${turns.waiting} ${what} wait for their turn in this process, ${used} of this tenant, and no more of it may (${settings.maxWaiting}); ` +
      'try again when some of them have ended',
    { details: { what, limit: maxWaiting, used, running: turns.inUse }, retryAfterMs: Math.min(maxWaitMs, 5_000) },
  );
}
