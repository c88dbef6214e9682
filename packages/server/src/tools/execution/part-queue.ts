import type { ToolCallEnd, ToolPart } from '#tools/contract';

type Read = IteratorResult<ToolPart, undefined>;

/** Parts of one call on their way to its one reader. Progress that waits is joined, so it takes the room of its text only. */
export class PartQueue {
  #waiting: ((read: Read) => void) | undefined;
  readonly #parts: ToolPart[] = [];
  #ended = false;

  push(part: ToolPart): void {
    if (this.#ended) return;
    const waiting = this.#waiting;
    if (waiting !== undefined) {
      this.#waiting = undefined;
      waiting({ value: part, done: false });
      return;
    }
    const last = this.#parts.at(-1);
    if (part.type === 'output' && last?.type === 'output')
      this.#parts[this.#parts.length - 1] = { type: 'output', text: last.text + part.text };
    else this.#parts.push(part);
  }

  /** The last part. */
  end(part: ToolCallEnd): void {
    this.push(part);
    this.#ended = true;
  }

  /** Nobody reads any more. */
  discard(): void {
    this.#ended = true;
    this.#parts.length = 0;
    this.#waiting?.({ value: undefined, done: true });
    this.#waiting = undefined;
  }

  /** The next part, once there is one. Only one reader may wait at a time. */
  read(): Promise<Read> {
    const part = this.#parts.shift();
    if (part !== undefined) return Promise.resolve({ value: part, done: false });
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    if (this.#waiting !== undefined) return Promise.reject(new TypeError('the parts of a call have one reader, which already waits'));
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }
}
