/** What a call that has ended is to be settled with: its share of the time, and who holds on to the rest. */
export interface TimeUsed {
  readonly wallMs: number;
  readonly heir?: string;
}

interface Holder {
  readonly reservationId: string;
  heldMs: number;
}

/**
 * The time that tool calls of a run take side by side, booked once: who ends books what has passed since the last booking, as far
 * as it holds that much, and leaves the rest of what it holds to one that goes on. So all of them book the time from the first
 * begin to the last end, and hold until then what is left of it.
 */
export class WallTime {
  readonly #calls = new Map<string, Holder>();
  #bookedUntilMs = 0;

  /** @param heldMs what its reservation took: less than it may take where others go on beside it */
  begin(callId: string, reservationId: string, heldMs: number, nowMs: number): void {
    if (this.#calls.size === 0) this.#bookedUntilMs = nowMs;
    this.#calls.set(callId, { reservationId, heldMs });
  }

  /**
   * @param began whether it did anything: one that did not takes no time
   * @param isUnknown it may stay reserved, while a person is asked what came of it: it keeps what it holds
   */
  end(callId: string, endedMs: number, began: boolean, isUnknown = false): TimeUsed {
    const holder = this.#calls.get(callId);
    if (holder === undefined) return { wallMs: 0 };
    this.#calls.delete(callId);
    const passedMs = Math.max(0, Math.ceil(endedMs - this.#bookedUntilMs));
    const wallMs = began ? Math.min(passedMs, holder.heldMs) : 0;
    this.#bookedUntilMs += wallMs;
    const [heir] = this.#calls.values();
    if (heir === undefined || isUnknown) return { wallMs };
    heir.heldMs += holder.heldMs - wallMs;
    return { wallMs, heir: heir.reservationId };
  }
}
