import { type Clock, NexusError } from '#core';
import type { Stop } from '#runs/steps';

/** Whether and why a run is to stop, and what its effects are told. */
export interface Stopping {
  readonly why: Stop | null;
  /** Fires when effects are to stop at once. */
  readonly signal: AbortSignal;
  /** Stops the run. The first reason stands, but for a person's cancel, which goes before everything. Effects are told to stop, unless it drains. */
  request(stop: Stop): void;
  /** Stops the run once what is under way has ended by itself. Any reason that is there already stands. */
  after(stop: Stop): void;
  /** Tells the effects to stop without saying how the run ends. */
  abort(error: NexusError): void;
  /** Time that effects which were told to stop have left; null while they were not told. */
  leftMs(): number | null;
}

export function createStopping(options: { readonly clock: Clock; readonly graceMs: number; readonly onChange: () => void }): Stopping {
  const { clock, graceMs, onChange } = options;
  const controller = new AbortController();
  let why: Stop | null = null;
  let stopBy: number | null = null;
  return {
    get why() {
      return why;
    },
    signal: controller.signal,
    request(next) {
      if (why?.type === 'cancel' || (why?.type === 'fail' && next.type !== 'cancel')) return;
      why = next;
      if (next.type !== 'drain') {
        controller.abort(new NexusError('cancelled', next.type === 'cancel' ? next.reason : next.error.message));
        stopBy ??= clock.monotonic() + graceMs;
      }
      onChange();
    },
    after(next) {
      why ??= next;
    },
    abort(error) {
      controller.abort(error);
      onChange();
    },
    leftMs: () => (stopBy === null ? null : stopBy - clock.monotonic()),
  };
}
