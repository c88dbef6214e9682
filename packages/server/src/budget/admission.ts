import type { BudgetRefusal, BudgetScope, BudgetUnit, TenantId } from '@nexus-agent/protocol';
import { abortError, type Cancel, type Clock, type Timers } from '#core';
import { type LedgerOperation, type ReserveOperation, scopeKey } from '#ledger';
import type { CommitStore } from '#storage';
import { type InLine, type Line, openLine } from './line.ts';

export interface AdmissionSettings {
  /** How long a call waits at most for what others hold; 0: it is refused at once. */
  readonly waitForReservedMs: number;
  /** How often the first in line asks again although nothing came free in this process. */
  readonly pollReservedMs: number;
}

/** What a call needs of the budget: where it may have to line up. */
export interface Need {
  readonly scope: BudgetScope;
  readonly unit: BudgetUnit;
}

/** What a refusal says of where it came from; `held`: others hold what is missing. */
interface Refused {
  readonly refusal: BudgetRefusal;
  readonly held?: true;
}

/**
 * Where calls wait that only reservations of others stand in the way of. They line up for the scope and unit that refused them, and
 * ask one after the other when something came free or after a while. Whoever is refused lets those behind it try that may fit into
 * what is left, until it has waited for half of its time: from then on what comes free is kept for it, for a while (see {@link Line}). What
 * is free is decided by the ledger alone: a line gives nothing but the order of asking, and is of this process.
 */
export interface Admission {
  /**
   * The place of somebody who makes calls, one after the other.
   *
   * @param onTurn it may be its turn: {@link Place.mayAsk} says so
   * @param atMostMs how long it has time, if that is less than calls wait by the settings
   */
  join(tenantId: TenantId, onTurn: () => void, atMostMs?: number): Place;
  /** The store, with an ear for what comes free by its commits. */
  observe<S extends CommitStore>(store: S): S;
  /** From now on nobody waits. */
  close(): void;
}

export interface Place {
  /** Whether it may ask the ledger now. If others wait for what it needs it has to line up behind them, and waits from now on. */
  mayAsk(needs: readonly Need[]): boolean;
  /** The ledger refused. True: it waits, first in its line if it was so before; false: that is the end of waiting. */
  refused(answer: Refused): boolean;
  /** The ledger granted, or nobody asks any more: the next one in line may. */
  done(): void;
  /** It is its turn, and it has not asked since. */
  isDue(): boolean;
  /** It has waited for as long as it may: it asks once more, and takes less than it wants. */
  isOver(): boolean;
  waitedMs(): number;
  /** Gives the place up. */
  close(): void;
}

/** Whoever waits, whose own place says since when and for what. */
interface Waiting extends InLine {
  asked: number | null;
  patientAt: number;
}

/** The lines of a tenant, for as long as anybody of it may wait. */
interface Book {
  readonly lines: Map<string, Line>;
  /** Of lines that were there: until when nobody is held back in them. */
  readonly rests: Map<string, number>;
  joined: number;
  /** Grows whenever something comes free, so that who is refused knows whether that was before or after. */
  freed: number;
}

export interface AdmissionOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'after' | 'every'>;
  readonly settings: AdmissionSettings;
}

export function createAdmission({ clock, timers, settings }: AdmissionOptions): Admission {
  const books = new Map<TenantId, Book>();
  const everybody = new Set<InLine>();
  let closed = false;

  function freed(tenantId: TenantId): void {
    const book = books.get(tenantId);
    if (book === undefined) return;
    book.freed += 1;
    for (const line of [...book.lines.values()]) line.freed();
  }

  function lineOf(book: Book, key: string): Line {
    const line =
      book.lines.get(key) ??
      openLine({ clock, timers, pollMs: settings.pollReservedMs, restsUntil: book.rests.get(key) ?? Number.NEGATIVE_INFINITY });
    book.lines.set(key, line);
    return line;
  }

  function close(book: Book, key: string, { restsUntil }: Line): void {
    book.lines.delete(key);
    book.rests.set(key, restsUntil);
    for (const [other, until] of book.rests) if (until <= clock.monotonic()) book.rests.delete(other);
  }

  return {
    join(tenantId, onTurn, atMostMs = Number.POSITIVE_INFINITY) {
      const waitMs = Math.min(settings.waitForReservedMs, atMostMs);
      const book = books.get(tenantId) ?? { lines: new Map(), rests: new Map(), joined: 0, freed: 0 };
      books.set(tenantId, book);
      book.joined += 1;
      let line: Line | null = null;
      let lineKey = '';
      let since: number | null = null;
      let isDue = false;
      let seen = book.freed;
      let endWait: Cancel | undefined;
      const hasWaited = (ms: number) => since !== null && clock.monotonic() - since >= ms;
      const isOver = () => closed || hasWaited(waitMs);
      const waiting: Waiting = {
        asked: null,
        patientAt: Number.POSITIVE_INFINITY,
        wake() {
          isDue = true;
          onTurn();
        },
      };

      function leaveLine(): void {
        line?.leave(waiting);
        if (line?.isEmpty) close(book, lineKey, line);
        line = null;
      }

      function lineUp(key: string): Line {
        if (line !== null && lineKey === key) return line;
        leaveLine();
        since ??= clock.monotonic();
        waiting.patientAt = since + waitMs / 2;
        endWait ??= timers.after(waitMs, () => waiting.wake());
        everybody.add(waiting);
        isDue = false;
        waiting.asked = null;
        line = lineOf(book, key);
        lineKey = key;
        line.enter(waiting);
        return line;
      }

      function done(): void {
        endWait?.();
        endWait = undefined;
        everybody.delete(waiting);
        leaveLine();
        since = null;
        waiting.patientAt = Number.POSITIVE_INFINITY;
        isDue = false;
      }

      return {
        mayAsk(needs) {
          if (line === null && book.lines.size > 0 && !isOver() && waitMs > 0) {
            const crowded = needs.map(keyOf).find((key) => book.lines.has(key));
            if (crowded !== undefined) lineUp(crowded).letTry(waiting);
          }
          if (line !== null && !isDue && !isOver()) return false;
          seen = book.freed;
          return true;
        },
        refused({ refusal, held }) {
          if (!held || isOver() || waitMs <= 0) return false;
          const own = lineUp(keyOf(refusal));
          isDue = false;
          waiting.asked = refusal.asked;
          // What came free while the ledger was asked may have been too late for it.
          own.refused(waiting, { available: refusal.available, freed: book.freed !== seen });
          return true;
        },
        done,
        isDue: () => line !== null && (isDue || isOver()),
        isOver,
        waitedMs: () => (since === null ? 0 : Math.round(clock.monotonic() - since)),
        close() {
          done();
          book.joined -= 1;
          if (book.joined === 0) books.delete(tenantId);
        },
      };
    },
    observe: (store) => ({
      ...store,
      async commit(commit) {
        const result = await store.commit(commit);
        if (result.type === 'committed' && commit.ledger?.some(frees)) freed(commit.tenantId);
        return result;
      },
    }),
    close() {
      closed = true;
      for (const waiting of everybody) waiting.wake();
    },
  };
}

function keyOf({ scope, unit }: Need): string {
  return `${scopeKey(scope)}|${unit}`;
}

function frees({ type }: LedgerOperation): boolean {
  return type === 'settle' || type === 'release' || type === 'charge' || type === 'limit';
}

/** What a reservation takes, and of whom. */
export function needsOf({ scopes, fixed, tokens, wallMs }: Pick<ReserveOperation, 'scopes' | 'fixed' | 'tokens' | 'wallMs'>): Need[] {
  const units = new Set<BudgetUnit>();
  for (const unit of ['toolCalls', 'tokens', 'costMicroUsd'] as const) if ((fixed[unit] ?? 0) > 0) units.add(unit);
  if (tokens !== undefined) units.add('tokens');
  if (tokens !== undefined && tokens.costMicroUsdPerMillion > 0) units.add('costMicroUsd');
  if (wallMs !== undefined) units.add('wallMs');
  return scopes.flatMap((scope) => [...units].map((unit) => ({ scope, unit })));
}

/** What any model call may need. */
export function modelNeeds(scopes: readonly BudgetScope[]): Need[] {
  return scopes.flatMap((scope) => (['tokens', 'costMicroUsd', 'wallMs'] as const).map((unit) => ({ scope, unit })));
}

interface TurnOptions {
  readonly tenantId: TenantId;
  readonly needs: readonly Need[];
  readonly signal?: AbortSignal | undefined;
  /** As {@link Admission.join} has it. */
  readonly atMostMs?: number | undefined;
}

/**
 * Asks in turn until it is granted, refused for good, or the time for waiting is over. `isLast`: what is refused now is refused,
 * so that less is to be taken than is wanted. Rejects with the reason of the signal when that ends the wait.
 */
export async function inTurn<Answer>(
  admission: Admission,
  { tenantId, needs, signal, atMostMs }: TurnOptions,
  ask: (options: { readonly isLast: boolean }) => Promise<Answer>,
  refusedBy: (answer: Answer) => Refused | null,
): Promise<{ readonly answer: Answer; readonly waitedMs: number }> {
  let wake: () => void = () => undefined;
  const place = admission.join(tenantId, () => wake(), atMostMs);
  const onAbort = () => wake();
  signal?.addEventListener('abort', onAbort);
  try {
    for (;;) {
      while (!place.mayAsk(needs)) {
        if (signal?.aborted) throw abortError(signal);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const answer = await ask({ isLast: place.isOver() });
      const waitedMs = place.waitedMs();
      const refused = refusedBy(answer);
      if (refused === null || !place.refused(refused)) return { answer, waitedMs };
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
    place.close();
  }
}
