import type { WorkerMessage } from '@nexus-agent/protocol';
import type { HeldCall } from '#storage';

/** The stream of one worker: what it is to be told, and what it has of ours. Held calls are at most as many as it takes, so what waits is bounded. */
export class WorkerConnection {
  readonly tenantId: string;
  readonly pool: string;
  readonly queue: string;
  readonly workerId: string;
  readonly maxConcurrent: number;
  readonly held = new Map<string, HeldCall>();
  #outbox: WorkerMessage[] = [];
  #wake: (() => void) | null = null;
  #isOver = false;
  #isLeaving = false;

  constructor(about: Pick<WorkerConnection, 'tenantId' | 'pool' | 'queue' | 'workerId' | 'maxConcurrent'>) {
    this.tenantId = about.tenantId;
    this.pool = about.pool;
    this.queue = about.queue;
    this.workerId = about.workerId;
    this.maxConcurrent = about.maxConcurrent;
  }

  get room(): number {
    return this.#isOver || this.#isLeaving ? 0 : Math.max(0, this.maxConcurrent - this.held.size);
  }

  /** It takes no more, and does what it has. */
  leave(): void {
    this.#isLeaving = true;
  }

  tell(message: WorkerMessage): void {
    if (this.#isOver) return;
    this.#outbox.push(message);
    this.#wake?.();
  }

  /** Nothing is told any more, and the stream ends after what it was told. */
  end(): void {
    this.#isOver = true;
    this.#wake?.();
  }

  /** What the worker is told, in batches, until the connection ends. */
  async *messages(): AsyncGenerator<readonly WorkerMessage[]> {
    for (;;) {
      if (this.#outbox.length > 0) {
        const batch = this.#outbox;
        this.#outbox = [];
        yield batch;
      } else if (this.#isOver) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = null;
      }
    }
  }
}
