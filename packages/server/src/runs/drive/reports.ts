import type { ErrorInfo } from '@nexus-agent/protocol';
import type { AttemptWish } from '#calls';
import type { Timers } from '#core';
import type { BegunTool, ModelCallPlan } from '#runs/steps';
import type { ToolCallEnd } from '#tools';
import type { NextAttempt, RunModelOutcome } from './model-call.ts';
import type { TimeUsed } from './wall-time.ts';

/** The model call wants another attempt: a retry, or a fallback to another target. */
export interface AttemptRequest extends AttemptWish<ModelCallPlan> {
  readonly plan: ModelCallPlan;
}

/** What a finished effect, or somebody outside, leaves for the loop. */
export type Report =
  | { readonly type: 'model'; readonly outcome: RunModelOutcome }
  | { readonly type: 'tool'; readonly start: BegunTool; readonly used: TimeUsed; readonly end: ToolCallEnd }
  /** A sub-agent that cannot begin, for instance because its agent is gone: a result for the model. */
  | { readonly type: 'childless'; readonly callId: string; readonly error: ErrorInfo }
  /** `refused`: artifacts of what came from outside, for which there is no room. */
  | { readonly type: 'poke'; readonly refused?: ReadonlySet<string> }
  | AttemptReport;

export interface AttemptReport {
  readonly type: 'attempt';
  readonly request: AttemptRequest;
  readonly answer: (next: NextAttempt) => void;
}

/** Where reports wait for the loop of a run. */
export class Mailbox {
  readonly #timers: Pick<Timers, 'after'>;
  #reports: Report[] = [];
  #wake: (() => void) | null = null;

  constructor(timers: Pick<Timers, 'after'>) {
    this.#timers = timers;
  }

  get isEmpty(): boolean {
    return this.#reports.length === 0;
  }

  put(report: Report): void {
    this.#reports.push(report);
    this.ring();
  }

  /** Everything that came since the last time. */
  take(): readonly Report[] {
    const taken = this.#reports;
    if (taken.length > 0) this.#reports = [];
    return taken;
  }

  /** Ends the wait without a report. */
  ring(): void {
    this.#wake?.();
  }

  /** Sleeps until the next report or ring, or for `maxMs`; null: for as long as it takes. */
  async wait(maxMs: number | null): Promise<void> {
    const waiting = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const cancel = maxMs === null ? undefined : this.#timers.after(Math.max(1, maxMs), () => this.ring());
    await waiting;
    cancel?.();
    this.#wake = null;
  }
}
