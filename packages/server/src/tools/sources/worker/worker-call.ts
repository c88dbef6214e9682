import type { EffectsClass, ErrorInfo, TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError, type Timers } from '#core';
import type { Store, WorkerCallState } from '#storage';
import type { ToolContext, ToolResult } from '#tools/contract';
import { queueOf, resultOf, WorkerAnswer } from './answer.ts';
import type { News } from './news.ts';
import type { WaitingCalls } from './waiting.ts';

/** What a call for a worker needs of its process. */
export interface CallerParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly news: News;
  readonly waiting: WaitingCalls;
  readonly onError: (error: unknown) => void;
  /** Hears of a worker that was lost with a call, and what becomes of that, for people to read. */
  readonly onLost: (about: LostWorker, message: string) => void;
}

export interface LostWorker {
  readonly tenantId: string;
  readonly pool: string;
  readonly workerId: string | null;
  readonly tool: string;
  readonly runId: string;
  readonly callKey: string;
  /** How many workers had it. */
  readonly delivery: number;
}

/** The tool of a call, and the pool that serves it. */
export interface WorkerTarget {
  readonly pool: string;
  readonly hash: string;
  readonly waitMs: number;
  readonly tool: string;
  readonly effects: EffectsClass;
  readonly timeoutMs: number;
}

/** A call whose effects allow it is given to so many workers, one after the other, as they are lost. */
const maxDeliveries = 3;
/** A row is kept so long after nobody can wait for it, for an attempt that comes later. */
const keepMs = 86_400_000;
/** After its server was away a worker has so long to be heard of, before it counts as lost. */
const returnMs = 15_000;
/** How long an answer is waited for after the call was given up: whoever called waits no longer than its grace. */
const afterStopMs = 60_000;
/** A database that is away is tried again so often. */
const tryAgainMs = 1_000;
/** So long it is tried to tell a worker that nobody waits for it. */
const tellStopMs = 600_000;

/**
 * Has a worker do the call, and gives what it answers. The call is in the database before a worker hears of it, under its idempotency
 * key: an attempt that finds it done takes that answer, and one that finds it at a worker waits for it.
 *
 * Cancelling ends a call that no worker has taken, and tells one that has, unless this process only leaves the run to another. A worker that is lost is one whose lease has ended: another
 * is given the call, unless its effects forbid it; then the result is `tool_outcome_unknown`. An attempt that began in another process and is
 * waited for again (`rejoins`) has nothing done that may have been done before.
 */
export function callWorker(
  parts: CallerParts,
  target: WorkerTarget,
  input: Record<string, unknown>,
  context: ToolContext,
): Promise<ToolResult> {
  return new WorkerCall(parts, target, input, context).result();
}

class WorkerCall {
  readonly #parts: CallerParts;
  readonly #target: WorkerTarget;
  readonly #input: Record<string, unknown>;
  readonly #context: ToolContext;
  readonly #settled = Promise.withResolvers<ToolResult>();
  readonly #tenantId: TenantId;
  readonly #callKey: string;
  #queuedAt = 0;
  /** The row is there: until then a look that comes early finds nothing, which says nothing. */
  #isOffered = false;
  /** One decision at a time; what comes meanwhile is looked at again a second later. */
  #deciding = false;
  /** Set once it was cancelled while a worker had it. */
  #stopped = false;

  constructor(parts: CallerParts, target: WorkerTarget, input: Record<string, unknown>, context: ToolContext) {
    this.#parts = parts;
    this.#target = target;
    this.#input = input;
    this.#context = context;
    this.#tenantId = context.tenantId as TenantId; // of the run that calls
    this.#callKey = context.idempotencyKey;
  }

  async result(): Promise<ToolResult> {
    const { waiting, timers } = this.#parts;
    const { signal, onOutput } = this.#context;
    const leave = waiting.add({
      tenantId: this.#tenantId,
      callKey: this.#callKey,
      look: (state) => this.#look(state),
      onOutput: (text) => onOutput(text),
    });
    let giveUp: (() => void) | undefined;
    const onAbort = () => {
      giveUp = timers.after(afterStopMs, () => this.#fail('cancelled', 'nobody waits for the worker any more'));
      this.#stop();
    };
    try {
      await this.#whenever(() => this.#offer(), signal);
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
      return await this.#settled.promise;
    } finally {
      leave();
      giveUp?.();
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Does it once the database can. An offer that nobody heard of may have been taken: it is made again, under the same key. Left when the signal fires. */
  async #whenever(work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof NexusError) || error.code !== 'storage_unavailable') throw error;
        this.#parts.onError(error);
        await this.#parts.timers.sleep(tryAgainMs, signal).catch(() => undefined);
        if (signal.aborted) return;
      }
    }
  }

  async #offer(): Promise<void> {
    const { store, clock, news } = this.#parts;
    const { pool, hash, waitMs, timeoutMs, tool } = this.#target;
    const { runId, sessionId, traceparent } = this.#context;
    const now = clock.now();
    this.#queuedAt = now;
    const expiresAt = now + waitMs + timeoutMs + keepMs;
    const queue = queueOf(pool, hash);
    const request = { tool, input: this.#input, timeoutMs, runId, sessionId, ...(traceparent === undefined ? {} : { traceparent }) };
    if (this.#context.rejoins === true && (await this.#isForgotten())) {
      this.#fail('tool_outcome_unknown', `nothing is kept of this call; whether ${tool} took effect is not known`);
      return;
    }
    const row = await store.offerToolCall({
      ...{ tenantId: this.#tenantId, callKey: this.#callKey, pool: queue, status: 'queued', request, answer: null },
      ...{ holder: null, delivery: 0, leaseUntil: null, cancelled: false, createdAt: now, expiresAt },
    });
    this.#isOffered = true;
    if (row.status === 'held') return;
    if (row.status === 'done') {
      if (!isUndone(row.answer) || (this.#context.rejoins === true && this.#mayBeDone(row.answer))) {
        this.#settled.resolve(resultOf(row.answer, this.#target));
        return;
      }
      await store.reopenToolCall(this.#tenantId, row, { nowMs: now, expiresAt });
    }
    news.queues.publish({ tenantId: this.#tenantId, queue });
  }

  #look(state: WorkerCallState | null): void {
    if (this.#deciding || !this.#isOffered) return;
    if (state?.status === 'done' && !this.#isOpenAgain(state)) {
      this.#settled.resolve(resultOf(state.answer, this.#target));
      return;
    }
    const step = this.#stepFor(state);
    if (step === null) return;
    this.#deciding = true;
    step()
      .catch(this.#parts.onError)
      .finally(() => {
        this.#deciding = false;
      });
  }

  #stepFor(state: WorkerCallState | null): (() => Promise<void>) | null {
    const now = this.#parts.clock.now();
    if (state === null) return async () => this.#fail('tool_failed', 'the call was forgotten before a worker did it');
    if (state.status === 'done') return () => this.#reopen(state, now);
    if (state.status === 'queued') return now - this.#queuedAt < this.#target.waitMs ? null : () => this.#leaveQueue();
    const isBack = this.#context.rejoins !== true || now - this.#queuedAt >= returnMs;
    const isLost = isBack && state.leaseUntil !== null && state.leaseUntil < now;
    return isLost ? () => this.#afterLoss(state, now) : null;
  }

  /** Of one that takes effect once, and began elsewhere, nothing is left: it may have been done long ago, or never heard of. */
  async #isForgotten(): Promise<boolean> {
    if (this.#target.effects !== 'once') return false;
    const [known] = await this.#parts.store.toolCallStates(this.#tenantId, [this.#callKey]);
    return known === undefined;
  }

  /** A worker was lost or cut off while it did what takes effect once. Only a person may have that begun again, as another attempt. */
  #mayBeDone(answer: unknown): boolean {
    if (this.#target.effects !== 'once') return false;
    const known = WorkerAnswer.safeParse(answer).data;
    return known?.type === 'stopped' || (known?.type === 'void' && known.error.code === 'tool_outcome_unknown');
  }

  /** An earlier attempt gave it up, and no worker did it, or may do it again: this one begins it anew. */
  #isOpenAgain({ answer, delivery, cancelled }: WorkerCallState): boolean {
    if (this.#context.signal.aborted || this.#stopped || delivery >= maxDeliveries) return false;
    const type = typeOf(answer);
    if (this.#mayBeDone(answer)) return false;
    return type === 'void' || (type === 'stopped' && cancelled);
  }

  async #reopen(state: WorkerCallState, now: number): Promise<void> {
    const { store, news } = this.#parts;
    const { pool, hash, waitMs, timeoutMs } = this.#target;
    this.#queuedAt = now;
    if (await store.reopenToolCall(this.#tenantId, state, { nowMs: now, expiresAt: now + waitMs + timeoutMs + keepMs }))
      news.queues.publish({ tenantId: this.#tenantId, queue: queueOf(pool, hash) });
  }

  /** No worker had room in time. */
  async #leaveQueue(): Promise<void> {
    const { pool, waitMs } = this.#target;
    const message = `no worker of "${pool}" took the call within ${waitMs} ms: none is connected, or all are busy; nothing was done`;
    const error: ErrorInfo = { code: 'unavailable', message, retryable: true };
    await this.#endUntaken(error);
  }

  async #endUntaken(error: ErrorInfo): Promise<boolean> {
    const answer: WorkerAnswer = { type: 'void', error };
    const ended = (await this.#parts.store.cancelToolCall(this.#tenantId, this.#callKey, answer)) === 'ended';
    if (ended) this.#settled.resolve({ type: 'error', error });
    return ended;
  }

  /** The worker that had it was not heard of for the time of its lease. */
  async #afterLoss(state: WorkerCallState, now: number): Promise<void> {
    const { store, news } = this.#parts;
    const { effects, pool, hash, tool } = this.#target;
    if (effects !== 'once' && state.delivery < maxDeliveries && !this.#stopped) {
      if (!(await store.requeueToolCall(this.#tenantId, state, now))) return;
      this.#tellLoss(state, 'the call is given to the next worker that has room');
      this.#queuedAt = this.#parts.clock.now();
      news.queues.publish({ tenantId: this.#tenantId, queue: queueOf(pool, hash) });
      return;
    }
    const error: ErrorInfo =
      effects === 'once'
        ? {
            code: 'tool_outcome_unknown',
            message: `the worker of "${pool}" was lost while it did ${tool}; whether it took effect is not known`,
            retryable: false,
            details: { cause: 'unavailable' },
          }
        : {
            code: 'tool_failed',
            message: `${state.delivery} workers of "${pool}" were lost, one after the other, while they did ${tool}`,
            retryable: false,
            details: { reason: 'connection' },
          };
    if (!(await store.endLostToolCall(this.#tenantId, state, now, { type: 'void', error }))) return;
    this.#tellLoss(state, effects === 'once' ? 'whether it took effect is put to a person' : 'the call fails');
    this.#settled.resolve({ type: 'error', error });
  }

  #tellLoss({ holder, delivery }: WorkerCallState, next: string): void {
    const { pool, tool } = this.#target;
    const about = { tenantId: this.#tenantId, pool, workerId: holder, tool, runId: this.#context.runId, callKey: this.#callKey, delivery };
    this.#parts.onLost(about, `a tool worker was not heard of for its lease, with a call under way: ${next}`);
  }

  #stop(): void {
    const { store, news, timers, onError } = this.#parts;
    const reason =
      this.#context.signal.reason instanceof NexusError ? this.#context.signal.reason : new NexusError('cancelled', 'cancelled');
    // Nothing was done, which `cancelled` would leave open for a tool that may take effect once.
    const error: ErrorInfo = { code: 'unavailable', message: `${reason.message}; no worker had begun`, retryable: true };
    const stopping = async () => {
      if (reason.code === 'lease_lost') {
        // Another process goes on waiting for what a worker has.
        await this.#parts.store.withdrawToolCall(this.#tenantId, this.#callKey, { type: 'void', error });
        return this.#fail('lease_lost', reason.message);
      }
      if (await this.#endUntaken(error)) return;
      this.#stopped = true;
      const answer: WorkerAnswer = { type: 'void', error };
      if ((await store.cancelToolCall(this.#tenantId, this.#callKey, answer)) !== 'gone')
        news.calls.publish({ type: 'cancelled', tenantId: this.#tenantId, callKey: this.#callKey, reason: reason.message });
      else if (!this.#isOffered) this.#settled.resolve({ type: 'error', error });
    };
    const giveUp = new AbortController();
    const cancelTimer = timers.after(tellStopMs, () => giveUp.abort());
    this.#whenever(stopping, giveUp.signal).catch(onError).finally(cancelTimer);
  }

  #fail(code: ErrorInfo['code'], message: string): void {
    this.#settled.resolve({ type: 'error', error: { code, message, retryable: false } });
  }
}

function typeOf(answer: unknown): WorkerAnswer['type'] | undefined {
  return (answer as WorkerAnswer | null)?.type; // as it is written by the desk, and above
}

/** For another attempt it is as if nobody had done it: whoever began that one knows what it may repeat. */
function isUndone(answer: unknown): boolean {
  const type = typeOf(answer);
  return type === 'void' || type === 'stopped';
}
