import { abortError, throwIfAborted } from '#core';

/** Ends a stay; twice does nothing. */
export type Leave = () => void;

interface Waiting {
  readonly alone: boolean;
  enter(): void;
}

/** Lets in many at a time, or one alone, in the order in which they came. */
export class Gate {
  #inside = 0;
  #alone = false;
  readonly #waiting: Waiting[] = [];

  get isEmpty(): boolean {
    return this.#inside === 0 && this.#waiting.length === 0;
  }

  /** Resolves inside; rejects when the signal fires before. */
  enter(alone: boolean, signal: AbortSignal): Promise<Leave> {
    throwIfAborted(signal);
    const { promise, resolve, reject } = Promise.withResolvers<Leave>();
    const waiting: Waiting = {
      alone,
      enter: () => {
        signal.removeEventListener('abort', onAbort);
        this.#inside += 1;
        this.#alone = alone;
        let left = false;
        resolve(() => {
          if (left) return;
          left = true;
          this.#inside -= 1;
          this.#alone = false;
          this.#letIn();
        });
      },
    };
    const onAbort = () => {
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      reject(abortError(signal));
      this.#letIn();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    this.#waiting.push(waiting);
    this.#letIn();
    return promise;
  }

  #letIn(): void {
    for (let [next] = this.#waiting; next !== undefined; [next] = this.#waiting) {
      if (this.#alone || (next.alone && this.#inside > 0)) return;
      this.#waiting.shift();
      next.enter();
    }
  }
}
