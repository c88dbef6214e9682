import { type Clock, NexusError } from '#core';
import type { Stop } from '#runs/steps';

export interface StoppingOptions {
  readonly clock: Clock;
  /** How long effects may take to stop after they were told to. */
  readonly graceMs: number;
  readonly onChange: () => void;
}

/** Whether and why a run is to stop, and what its effects are told. */
export class Stopping {
  readonly #options: StoppingOptions;
  readonly #controller = new AbortController();
  #why: Stop | null = null;
  #stopBy: number | null = null;

  constructor(options: StoppingOptions) {
    this.#options = options;
  }

  get why(): Stop | null {
    return this.#why;
  }

  /** Fires when effects are to stop at once. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Stops the run. The first reason stands, but for a person's cancel, which goes before everything. Effects are told to stop, unless it drains. */
  request(next: Stop): void {
    if (this.#why?.type === 'cancel' || (this.#why?.type === 'fail' && next.type !== 'cancel')) return;
    const { clock, graceMs, onChange } = this.#options;
    this.#why = next;
    if (next.type !== 'drain') {
      this.#controller.abort(new NexusError('cancelled', next.type === 'cancel' ? next.reason : next.error.message));
      this.#stopBy ??= clock.monotonic() + graceMs;
    }
    onChange();
  }

  /** Stops the run once what is under way has ended by itself. Any reason that is there already stands. */
  after(next: Stop): void {
    this.#why ??= next;
  }

  /** Tells the effects to stop without saying how the run ends. */
  abort(error: NexusError): void {
    this.#controller.abort(error);
    this.#options.onChange();
  }

  /** Time that effects which were told to stop have left; null while they were not told. */
  leftMs(): number | null {
    return this.#stopBy === null ? null : this.#stopBy - this.#options.clock.monotonic();
  }
}
