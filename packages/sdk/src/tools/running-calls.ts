import type { WorkerMessage, WorkerReport } from '@nexus-agent/protocol';
import type { DefinedTool } from './define-tool.ts';

export type GivenCall = Extract<WorkerMessage, { type: 'call' }>;

/** How a call ended here, whoever hears of it. */
type Ending = { readonly type: 'completed'; readonly output: unknown } | { readonly type: 'failed' | 'stopped'; readonly message: string };

interface Running {
  delivery: number;
  readonly stop: AbortController;
  readonly ended: Promise<Ending>;
}

/** Endings that are remembered: a call that is given again is not done again. */
const maxRemembered = 1_000;
const maxMessageChars = 4_000;
const maxOutputChars = 20_000;

export interface RunningCallsOptions {
  readonly tools: ReadonlyMap<string, DefinedTool>;
  readonly report: (report: WorkerReport) => void;
  readonly onError: (error: unknown, callId: string) => void;
}

/** The calls that this process works on. One that comes again, because its lease ran out, joins what runs or gets what it gave. */
export class RunningCalls {
  readonly #options: RunningCallsOptions;
  readonly #running = new Map<string, Running>();
  readonly #remembered = new Map<string, Ending>();

  constructor(options: RunningCallsOptions) {
    this.#options = options;
  }

  get held(): readonly { readonly callId: string; readonly delivery: number }[] {
    return [...this.#running].map(([callId, { delivery }]) => ({ callId, delivery }));
  }

  take(call: GivenCall): void {
    const { callId, delivery } = call;
    const remembered = this.#remembered.get(callId);
    if (remembered !== undefined) {
      this.#tell(callId, delivery, remembered);
      return;
    }
    const known = this.#running.get(callId);
    if (known !== undefined) {
      known.delivery = delivery;
      return;
    }
    const stop = new AbortController();
    const running: Running = { delivery, stop, ended: this.#run(call, stop) };
    this.#running.set(callId, running);
    void running.ended.then((ending) => {
      this.#running.delete(callId);
      // One that was told to stop did not do its work: if it is wanted again, it begins anew.
      if (ending.type !== 'stopped') this.#remember(callId, ending);
      this.#tell(callId, running.delivery, ending);
    });
  }

  /**
   * Nobody wants this delivery any more, or the server gave the call to another worker: what it gives does not count. The call may have
   * been given to this worker anew before that was said of the delivery before; that one goes on.
   */
  stop(callId: string, delivery: number, reason: string): void {
    const running = this.#running.get(callId);
    if (running?.delivery === delivery) running.stop.abort(new Error(reason));
  }

  /** Tells all to stop after `graceMs`, and resolves when all have ended. */
  async drain(graceMs: number): Promise<void> {
    const timer = setTimeout(() => {
      for (const { stop } of this.#running.values()) stop.abort(new Error('the worker is shutting down'));
    }, graceMs);
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
    clearTimeout(timer);
  }

  async #run(call: GivenCall, stop: AbortController): Promise<Ending> {
    const { callId, runId, sessionId, traceparent, timeoutMs } = call;
    const tool = this.#options.tools.get(call.tool);
    if (tool === undefined) return { type: 'failed', message: `this worker has no tool ${call.tool}` };
    const timer = setTimeout(() => stop.abort(new Error(`${call.tool} did not finish within ${timeoutMs} ms`)), timeoutMs);
    let left = maxOutputChars;
    const progress = (text: string) => {
      const running = this.#running.get(callId);
      const shown = beginningOf(String(text), left);
      left -= shown.length;
      if (running !== undefined && shown !== '') this.#options.report({ type: 'output', callId, delivery: running.delivery, text: shown });
    };
    const stopped = new Promise<never>((_, reject) => {
      stop.signal.addEventListener('abort', () => reject(stop.signal.reason), { once: true });
    });
    try {
      const work = tool.run(call.input, {
        ...{ callId, runId, sessionId, signal: stop.signal, progress },
        ...(traceparent === undefined ? {} : { traceparent }),
      });
      work.catch(() => undefined); // heard below, unless it comes after the stop
      const output = await Promise.race([work, stopped]);
      return { type: 'completed', output: plain(output) };
    } catch (error) {
      if (stop.signal.aborted) return { type: 'stopped', message: saidBy(stop.signal.reason) };
      this.#options.onError(error, callId);
      return { type: 'failed', message: saidBy(error) };
    } finally {
      clearTimeout(timer);
    }
  }

  #remember(callId: string, ending: Ending): void {
    this.#remembered.set(callId, ending);
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= maxRemembered) break;
      this.#remembered.delete(oldest);
    }
  }

  #tell(callId: string, delivery: number, ending: Ending): void {
    this.#options.report({ ...ending, callId, delivery });
  }
}

/** What JSON makes of it: an output that cannot be sent is a failure, and the model is told so. */
function plain(output: unknown): unknown {
  const text = JSON.stringify(output);
  return text === undefined ? null : JSON.parse(text);
}

function saidBy(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return beginningOf(text === '' ? 'the tool failed and does not say why' : text, maxMessageChars);
}

/** At most so many characters, and none of them cut in half. */
function beginningOf(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const isHalf = /[\ud800-\udbff]/.test(text.charAt(maxChars - 1));
  return text.slice(0, isHalf ? maxChars - 1 : maxChars);
}
