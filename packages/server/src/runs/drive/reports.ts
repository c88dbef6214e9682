import type { ErrorInfo } from '@nexus-agent/protocol';
import type { AttemptWish } from '#calls';
import type { Timers } from '#core';
import type { ModelCallPlan, ToolStart } from '#runs/steps';
import type { ToolCallEnd } from '#tools';
import type { NextAttempt, RunModelOutcome } from './model-call.ts';

/** The model call wants another attempt: a retry, or a fallback to another target. */
export interface AttemptRequest extends AttemptWish<ModelCallPlan> {
  readonly plan: ModelCallPlan;
}

/** What a finished effect, or somebody outside, leaves for the loop. */
export type Report =
  | { readonly type: 'model'; readonly outcome: RunModelOutcome }
  | { readonly type: 'tool'; readonly start: ToolStart; readonly wallMs: number; readonly end: ToolCallEnd }
  /** A sub-agent that cannot begin, for instance because its agent is gone: a result for the model. */
  | { readonly type: 'childless'; readonly callId: string; readonly error: ErrorInfo }
  | { readonly type: 'poke' }
  | AttemptReport;

export interface AttemptReport {
  readonly type: 'attempt';
  readonly request: AttemptRequest;
  readonly answer: (next: NextAttempt) => void;
}

/** Where reports wait for the loop. */
export interface Mailbox {
  put(report: Report): void;
  /** Everything that came since the last time. */
  take(): readonly Report[];
  readonly isEmpty: boolean;
  /** Ends the wait without a report. */
  ring(): void;
  /** Sleeps until the next report or ring, or for `maxMs`; null: for as long as it takes. */
  wait(maxMs: number | null): Promise<void>;
}

export function createMailbox(timers: Pick<Timers, 'after'>): Mailbox {
  let reports: Report[] = [];
  let wake: (() => void) | null = null;
  const ring = () => wake?.();
  return {
    put(report) {
      reports.push(report);
      ring();
    },
    take() {
      const taken = reports;
      reports = [];
      return taken;
    },
    get isEmpty() {
      return reports.length === 0;
    },
    ring,
    async wait(maxMs) {
      const waiting = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const cancel = maxMs === null ? undefined : timers.after(Math.max(1, maxMs), ring);
      await waiting;
      cancel?.();
      wake = null;
    },
  };
}
