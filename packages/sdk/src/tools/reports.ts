import type { WorkerReceipt, WorkerReport } from '@nexus-agent/protocol';
import { NexusApiError } from '../errors.ts';
import { backOff, isRefusal, type Transport } from '../transport.ts';

export interface ReportsOptions {
  readonly transport: Transport;
  readonly pool: string;
  readonly workerId: () => string | null;
  readonly onReceipt: (receipt: WorkerReceipt) => void;
  readonly onError: (error: unknown) => void;
  readonly signal: AbortSignal;
}

const maxReports = 100;
const maxChars = 1_000_000;

/** What is reported, in its order and as few requests: while one is under way others gather. Kept until the server has taken it. */
export class Reports {
  readonly #options: ReportsOptions;
  #waiting: WorkerReport[] = [];
  #sending: Promise<void> | null = null;
  /** So many of those that wait go one at a time. */
  #singly = 0;
  #leaving = false;
  #saidSo = false;

  constructor(options: ReportsOptions) {
    this.#options = options;
  }

  put(report: WorkerReport): void {
    // While the server is away, that a call is held is said once and not once for each heartbeat.
    if (report.type === 'held' && this.#waiting.some((other) => repeats(other, report))) return;
    this.#waiting.push(report);
    this.#begin();
  }

  /** Says along with what comes next, or by itself, that the worker takes no more. */
  leave(): void {
    this.#leaving = true;
    this.#begin();
  }

  #begin(): void {
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = null;
    });
  }

  /** Resolves when all is sent, or cannot be any more. */
  async flush(): Promise<void> {
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    await Promise.resolve(); // what is reported in the same turn goes along
    while (this.#waiting.length > 0 || (this.#leaving && !this.#saidSo)) {
      const batch = this.#next();
      for (let failures = 1; ; failures++) {
        try {
          await this.#send(batch);
          break;
        } catch (error) {
          if (this.#options.signal.aborted) return;
          if (isRefusal(error)) {
            this.#options.onError(error);
            this.#insteadOf(batch, error);
            break;
          }
          await backOff(Math.min(failures, 8), this.#options.transport.retry, error, this.#options.signal).catch(() => undefined);
          if (this.#options.signal.aborted) return;
        }
      }
    }
  }

  #next(): WorkerReport[] {
    if (this.#singly > 0) {
      this.#singly -= 1;
      return this.#waiting.splice(0, 1);
    }
    let chars = 0;
    let count = 0;
    for (const report of this.#waiting) {
      chars +=
        report.type === 'completed' ? (JSON.stringify(report.output)?.length ?? 0) : report.type === 'output' ? report.text.length : 100;
      if (count > 0 && (count >= maxReports || chars > maxChars)) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  async #send(reports: readonly WorkerReport[]): Promise<void> {
    const { transport, pool, workerId, onReceipt, signal } = this.#options;
    const id = workerId();
    if (id === null) {
      this.#saidSo = this.#leaving; // it never arrived
      return;
    }
    const leaving = this.#leaving;
    const path = `/v1/tool-pools/${encodeURIComponent(pool)}/reports`;
    onReceipt(
      await transport.json<WorkerReceipt>(path, {
        method: 'POST',
        body: { workerId: id, reports, ...(leaving ? { leaving } : {}) },
        repeatable: false,
        signal,
      }),
    );
    this.#saidSo ||= leaving;
  }

  /** The server does not take an answer, such as one that is too large: the model is told that instead. */
  #insteadOf(batch: readonly WorkerReport[], error: unknown): void {
    if (batch.length > 1) {
      this.#waiting.unshift(...batch);
      this.#singly = batch.length; // so that only what is refused is lost
      return;
    }
    const [report] = batch;
    if (report?.type !== 'completed') return;
    const why = error instanceof NexusApiError ? error.message.replace(/^the body /, 'the output ') : 'the server did not take it';
    const { callId, delivery } = report;
    this.#waiting.unshift({
      type: 'failed',
      callId,
      delivery,
      message: `the tool did its work, but its output was not taken: ${why}`.slice(0, 2_000),
    });
  }
}

function repeats(one: WorkerReport, other: WorkerReport): boolean {
  return one.type === other.type && one.callId === other.callId && one.delivery === other.delivery;
}
