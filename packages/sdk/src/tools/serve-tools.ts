import type { WorkerHello, WorkerMessage, WorkerReceipt } from '@nexus-agent/protocol';
import { localError, NexusApiError } from '../errors.ts';
import { decodeSse } from '../sse-decoder.ts';
import { backOff, isRefusal, isRetryable, maxTimerMs, type Transport } from '../transport.ts';
import type { DefinedTool } from './define-tool.ts';
import { Reports } from './reports.ts';
import { RunningCalls } from './running-calls.ts';

export interface ServeToolsOptions {
  /** The pool: workers of one name serve the same tools, and whichever has room takes a call. Default `default`. */
  readonly name?: string;
  /** Most calls at a time. Default 10. */
  readonly maxConcurrent?: number;
  /** How long a call waits for a worker of the pool before the model is told. Default 60 s. */
  readonly waitMs?: number;
  /** For people who list workers: host, version. */
  readonly about?: Readonly<Record<string, string>>;
  /** Ends the worker as {@link ToolWorker.close} does. */
  readonly signal?: AbortSignal;
  /** Hears of what a tool threw, with the id of its call, of what the server refused, and once of each time that it cannot be reached. Default: nobody. */
  readonly onError?: (error: unknown, callId?: string) => void;
}

/** A worker that serves tools from this process until it is closed. */
export interface ToolWorker extends AsyncDisposable {
  /** Resolves when the server has taken the tools, with the worker's id; rejects when it refuses them. */
  readonly ready: Promise<string>;
  /** Resolves after {@link close}; rejects when the server refuses the worker for good, such as for a key that was revoked. */
  readonly closed: Promise<void>;
  /** Takes no more calls, lets those at work end for `graceMs` (default 10 s), tells the server for at most 5 s, and disconnects. */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

/** What is left to report is tried for so long when a worker is closed: a server that is away must not hold it. */
const flushMs = 5_000;
/** A stream on which nothing comes for so long, pings included, is opened anew. */
const idleMs = 60_000;
/** After a connection that lasted so long the next one is not waited for as after many that failed. */
const stableMs = 5_000;

/**
 * Serves tools from this process: it connects to the server, so that nothing has to reach it. Calls that are at work when a connection
 * breaks go on, and are reported over the next one. A call whose worker was lost is given to another worker of the pool, under the same
 * `callId`, where its effects allow that.
 */
export function serveToolsOver(transport: Transport, tools: readonly DefinedTool[], options: ServeToolsOptions = {}): ToolWorker {
  const { name: pool = 'default', onError = () => undefined } = options;
  const byName = new Map(tools.map((tool) => [tool.declared.name, tool]));
  const over = new AbortController();
  const ready = Promise.withResolvers<string>();
  ready.promise.catch(() => undefined); // whoever does not ask hears of it by `closed`
  let workerId: string | null = null;
  let leaving = false;
  let connection: AbortController | null = null;
  let readyAt: number | null = null;
  let stopHeartbeat: () => void = () => undefined;

  const reports = new Reports({
    ...{ transport, pool, onError, onReceipt: hear, workerId: () => workerId, signal: over.signal },
  });
  const calls = new RunningCalls({ tools: byName, report: (report) => reports.put(report), onError });

  function hear({ calls: receipts }: WorkerReceipt): void {
    for (const { callId, delivery, state } of receipts) {
      if (state === 'cancelled') calls.stop(callId, delivery, 'the call was cancelled');
      if (state === 'lost') calls.stop(callId, delivery, 'the call was given to another worker');
    }
  }

  function hello(): WorkerHello {
    const { maxConcurrent = 10, waitMs = 60_000, about = {} } = options;
    return {
      ...(workerId === null ? {} : { workerId }),
      ...{ maxConcurrent, waitMs, tools: tools.map(({ declared }) => declared), about: { ...about } },
    };
  }

  function onMessage(message: WorkerMessage): void {
    switch (message.type) {
      case 'worker.ready':
        workerId = message.workerId;
        readyAt = performance.now();
        stopHeartbeat();
        stopHeartbeat = every(message.heartbeatMs, () => {
          for (const { callId, delivery } of calls.held) reports.put({ type: 'held', callId, delivery });
        });
        ready.resolve(message.workerId);
        return;
      case 'call':
        if (leaving) reports.put({ type: 'returned', callId: message.callId, delivery: message.delivery });
        else calls.take(message);
        return;
      case 'call.cancelled':
        calls.stop(message.callId, message.delivery, message.reason);
    }
  }

  /** One connection, to its end. Throws what ended it. */
  async function connectOnce(): Promise<void> {
    const own = new AbortController();
    connection = own;
    let idle: ReturnType<typeof setTimeout> | undefined;
    const alive = () => {
      clearTimeout(idle);
      idle = setTimeout(() => own.abort(localError('unavailable', 'the stream fell silent')), Math.min(maxTimerMs, idleMs));
    };
    try {
      alive();
      const path = `/v1/tool-pools/${encodeURIComponent(pool)}/stream`;
      const headers = { accept: 'text/event-stream' };
      const response = await transport.send(path, { method: 'POST', body: hello(), headers, repeatable: false, signal: own.signal });
      if (response.body === null) throw localError('unavailable', 'the stream has no body');
      for await (const { event, data } of decodeSse(response.body, alive)) {
        if (event === 'error') throw new NexusApiError(JSON.parse(data).data);
        onMessage(JSON.parse(data) as WorkerMessage); // the server's schema; what is not known is passed over
      }
      throw localError('unavailable', 'the server ended the stream');
    } finally {
      clearTimeout(idle);
      own.abort();
    }
  }

  async function serve(): Promise<void> {
    for (let failures = 1; !leaving; failures++) {
      readyAt = null;
      try {
        await connectOnce();
      } catch (error) {
        if (leaving) return;
        // A worker that was never taken may have the wrong address; one that was is not ended by what stands before the server.
        if (workerId === null ? !isRetryable(error) : isRefusal(error)) throw error;
        if (isStable(readyAt)) failures = 1;
        if (failures === 1 || readyAt !== null || !isRetryable(error)) onError(error);
        await backOff(Math.min(failures, 8), transport.retry, error, over.signal).catch(() => undefined);
      }
    }
  }

  const closed = serve().catch((error: unknown) => {
    ready.reject(error);
    stopHeartbeat();
    over.abort();
    throw error;
  });
  closed.catch(() => undefined); // whoever wants to know awaits it

  let closing: Promise<void> | undefined;
  async function close({ graceMs = 10_000 }: { readonly graceMs?: number } = {}): Promise<void> {
    leaving = true;
    reports.leave();
    await calls.drain(graceMs);
    await within(flushMs, reports.flush());
    stopHeartbeat();
    over.abort();
    connection?.abort(new Error('the worker was closed'));
    ready.reject(new Error('the worker was closed'));
    await closed.catch(() => undefined);
  }
  const closeOnce = (given?: { readonly graceMs?: number }) => {
    closing ??= close(given);
    return closing;
  };
  options.signal?.addEventListener('abort', () => void closeOnce(), { once: true });
  if (options.signal?.aborted) void closeOnce();
  return { ready: ready.promise, closed, close: closeOnce, [Symbol.asyncDispose]: () => closeOnce() };
}

function isStable(readyAt: number | null): boolean {
  return readyAt !== null && performance.now() - readyAt >= stableMs;
}

function every(ms: number, work: () => void): () => void {
  const timer = setInterval(work, Math.max(100, ms));
  return () => clearInterval(timer);
}

/** Resolves with the work, or after the time. */
async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
