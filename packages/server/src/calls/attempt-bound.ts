import type { BudgetAmounts } from '@nexus-agent/protocol';
import type { Clock, Timers } from '#core';
import type { ModelAttempt, ModelGrant } from './model-attempt.ts';

/** Where it is kept on record how much an attempt can have used. */
export interface BoundRecord {
  /** So many tokens may have been made beyond those that have come: on their way, or held back by who sends in bursts. */
  readonly aheadTokens: number;
  /** Resolves when it is durable; false when the reservation is closed, and what is used from now on is held by nobody. */
  readonly write: (reservationId: string, atMost: BudgetAmounts) => Promise<boolean>;
}

export interface AttemptBoundOptions {
  readonly attempt: ModelAttempt;
  readonly grant: ModelGrant;
  readonly record: BoundRecord;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'sleep'>;
  readonly signal: AbortSignal;
}

/** What comes within so long of each other came together. */
const togetherMs = 10;
const longestPauseMs = 1_000;

/**
 * Keeps on record, ahead of what comes, how much an attempt can have used should this process be lost, so that it is charged for
 * that and not for all that it may use. Nothing is read beyond the record. There is none before the answer is seen to come bit by
 * bit: a server that gives it in one piece has made all of it when the first byte comes. The record is raised when half of what it
 * lies ahead is used up, so that a long answer takes few writes.
 */
export class AttemptBound {
  readonly #options: AttemptBoundOptions;
  /** The least that may be on record; at first the whole grant. */
  #limit: number;
  #writing: Promise<void> | null = null;
  #isWritten = false;
  #isClosed = false;
  #hasEnded = false;
  #tokens = 0;
  #cameAtMs: number | null = null;
  #comesBitByBit = false;
  #burst = 0;
  #largestBurst = 0;

  constructor(options: AttemptBoundOptions) {
    this.#options = options;
    this.#limit = options.grant.maxTokens;
  }

  /** The most output that is paid for if the process is lost now. */
  get limit(): number {
    return this.#limit;
  }

  /** Notes what has come so far. True, or resolves so, when more may be read; false when the attempt must end. */
  came(most: number): true | Promise<boolean> {
    this.#note(most);
    if (!this.#comesBitByBit) return true;
    const { grant, record } = this.#options;
    // What is counted on the high side may be more than was granted, which nothing is charged beyond.
    const tokens = Math.min(most, grant.maxTokens);
    const ahead = Math.max(record.aheadTokens, 2 * this.#largestBurst, Math.ceil(tokens / 4));
    const wanted = Math.min(grant.maxTokens, tokens + ahead);
    const isUseful = this.#isWritten ? this.#limit < grant.maxTokens && tokens + ahead / 2 > this.#limit : wanted < grant.maxTokens;
    if (isUseful) this.#writing ??= this.#write(wanted);
    return tokens <= this.#limit && !this.#isClosed ? true : this.#catchUp(tokens, wanted);
  }

  /** The attempt has ended: what is not on record yet need not be. */
  end(): void {
    this.#hasEnded = true;
  }

  #note(tokens: number): void {
    const nowMs = this.#options.clock.monotonic();
    const more = tokens - this.#tokens;
    const isTogether = this.#cameAtMs === null || nowMs - this.#cameAtMs < togetherMs;
    this.#burst = isTogether ? this.#burst + more : more;
    this.#largestBurst = Math.max(this.#largestBurst, this.#burst);
    this.#comesBitByBit ||= !isTogether;
    this.#cameAtMs = nowMs;
    this.#tokens = tokens;
  }

  async #catchUp(tokens: number, wanted: number): Promise<boolean> {
    const { signal } = this.#options;
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (tokens > this.#limit && !this.#isClosed && !signal.aborted) {
        this.#writing ??= this.#write(wanted);
        await Promise.race([this.#writing, aborted]);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    return !this.#isClosed;
  }

  /** Until it is written, the attempt has ended or is told to. */
  async #write(outputTokens: number): Promise<void> {
    const { attempt, record, timers, signal } = this.#options;
    const { reservationId, fixed, tokens } = attempt.reserve;
    const price = tokens?.costMicroUsdPerMillion ?? 0;
    const atMost = {
      tokens: (fixed.tokens ?? 0) + outputTokens,
      costMicroUsd: (fixed.costMicroUsd ?? 0) + Math.ceil((outputTokens * price) / 1_000_000),
    };
    // It may be on record from now on.
    this.#limit = Math.min(this.#limit, outputTokens);
    this.#isWritten = true;
    for (let failures = 0; !this.#hasEnded && !signal.aborted; failures++) {
      try {
        if (failures > 0) await timers.sleep(Math.min(longestPauseMs, 25 * 2 ** failures), signal);
        if (await record.write(reservationId, atMost)) this.#limit = outputTokens;
        else this.#isClosed = true;
        break;
      } catch {
        // The store is away, which whoever writes the run tells of. What may be read is read; then the answer has to wait.
      }
    }
    this.#writing = null;
  }
}
