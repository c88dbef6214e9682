import type { ServerResponse } from 'node:http';
import type { LiveData, Problem } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import type { StreamCursor, StreamFrame } from '#runs';
import type { StreamOutcome } from './types.ts';

/** Reads a `Last-Event-ID`: `<seq>` or `<seq>.<offset>`. */
export function parseCursor(text: string, name: string): StreamCursor {
  const match = /^(\d{1,15})(?:\.(\d{1,15}))?$/.exec(text);
  if (match === null) {
    throw new NexusError(
      'invalid_request',
      `${name} must be an event id of this stream, such as 12 or 12.340, got ${JSON.stringify(text.slice(0, 40))}`,
    );
  }
  return { seq: Number(match[1]), offset: Number(match[2] ?? 0) };
}

function cursorId(cursor: StreamCursor): string {
  return cursor.offset === 0 ? String(cursor.seq) : `${cursor.seq}.${cursor.offset}`;
}

export interface StreamRequest {
  readonly runId: string;
  readonly cursor: StreamCursor;
  /** Sent with the head of the response. */
  readonly headers: Readonly<Record<string, string>>;
  /** The run's frames from the cursor; the signal ends the iteration. */
  follow(signal: AbortSignal): AsyncIterable<readonly StreamFrame[]>;
  /** The body and headers that an error is shown as. */
  problemOf(error: unknown): { problem: Problem; headers: Record<string, string> };
}

export interface StreamHub {
  /** Writes the stream and resolves, with how it ended, when the response is done. Never rejects. */
  serve(response: ServerResponse, request: StreamRequest): Promise<StreamOutcome>;
  /** Ends every stream in good order: clients reconnect elsewhere. */
  close(): Promise<void>;
}

interface Live {
  readonly response: ServerResponse;
  readonly stop: AbortController;
  readonly done: Promise<StreamOutcome>;
  active: boolean;
  blocked: boolean;
}

/** How long the first frames may take before the head of the response is sent without them. */
const headDelayMs = 100;

/**
 * Server-sent events with bounded memory: at most one batch per reader is ever in flight. While a socket is full the run
 * is not read any further for this reader; one that stays full for `lagMs` is told `stream.lagged` and detached. A
 * reader that leaves is detached and nothing else: the run goes on.
 */
export function createStreamHub(options: { lagMs: number; pingMs: number; onFrames: (count: number) => void }): StreamHub {
  const streams = new Set<Live>();
  const pinger = setInterval(() => {
    for (const live of streams) {
      if (!live.active && !live.blocked && live.response.headersSent) live.response.write(': ping\n\n');
      live.active = false;
    }
  }, options.pingMs);
  pinger.unref();

  return {
    serve(response, request) {
      const stop = new AbortController();
      const live: Live = {
        response,
        stop,
        active: false,
        blocked: false,
        done: Promise.resolve().then(() => write(live, request, options)),
      };
      streams.add(live);
      return live.done.finally(() => streams.delete(live));
    },
    async close() {
      clearInterval(pinger);
      for (const live of streams) live.stop.abort(new NexusError('unavailable', 'the server is shutting down'));
      await Promise.allSettled([...streams].map((live) => live.done));
    },
  };
}

async function write(
  live: Live,
  request: StreamRequest,
  { lagMs, onFrames }: { lagMs: number; onFrames: (count: number) => void },
): Promise<StreamOutcome> {
  const { response, stop } = live;
  const leave = () => stop.abort(new NexusError('cancelled', 'the reader left'));
  response.on('close', leave);
  // A socket may fail at any write; what follows from it is the close event.
  response.on('error', () => undefined);
  let lastId = cursorId(request.cursor);
  let iterator: AsyncIterator<readonly StreamFrame[]> | null = null;
  try {
    if (response.destroyed) leave();
    iterator = request.follow(stop.signal)[Symbol.asyncIterator]();
    let next = iterator.next();
    // An error before the first frame is still an ordinary answer; only a log that is silent for a while gets an early head.
    const early = await Promise.race([next.then(() => false), delay(headDelayMs, stop.signal)]);
    if (!response.destroyed) sendHead(response, request.headers);
    if (early && !response.destroyed) response.flushHeaders();
    for (;;) {
      const step = await next;
      if (step.done === true) break;
      let text = '';
      for (const frame of step.value) {
        text +=
          frame.id === null
            ? `event: ${frame.event}\ndata: ${frame.data}\n\n`
            : `id: ${frame.id}\nevent: ${frame.event}\ndata: ${frame.data}\n\n`;
        if (frame.id !== null) lastId = frame.id;
      }
      if (text !== '') {
        live.active = true;
        onFrames(step.value.length);
        if (!response.write(text)) {
          live.blocked = true;
          const drained = await waitForDrain(response, lagMs, stop.signal);
          live.blocked = false;
          if (!drained && !stop.signal.aborted) return endLagged(response, request.runId, lastId, lagMs);
        }
      }
      if (stop.signal.aborted) break;
      next = iterator.next();
    }
    return finish();
  } catch (error) {
    if (stop.signal.aborted) return finish();
    const { problem, headers } = request.problemOf(error);
    if (response.headersSent) {
      response.end(eventText('error', problem, request.runId));
    } else {
      response.writeHead(problem.status, { ...request.headers, ...headers });
      response.end(JSON.stringify(problem));
    }
    return 'failed';
  } finally {
    response.off('close', leave);
    stop.abort('the stream has ended');
    await iterator?.return?.().catch(() => undefined);
  }

  function finish(): StreamOutcome {
    if (response.destroyed) return 'disconnected';
    if (!stop.signal.aborted) {
      response.end();
      return 'completed';
    }
    if (!response.headersSent) sendHead(response, request.headers);
    response.end(': the server is shutting down, reconnect with the last event id\n\n');
    return 'shutdown';
  }
}

function sendHead(response: ServerResponse, headers: Readonly<Record<string, string>>): void {
  response.writeHead(200, { ...headers, 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' });
}

function endLagged(response: ServerResponse, runId: string, lastEventId: string, lagMs: number): StreamOutcome {
  response.end(eventText('stream.lagged', { lastEventId }, runId));
  // The reader gets as long again to take what is buffered; then the socket and its memory are freed.
  const timer = setTimeout(() => response.destroy(), lagMs);
  response.once('close', () => clearTimeout(timer));
  return 'lagged';
}

function eventText<T extends 'error' | 'stream.lagged'>(type: T, data: LiveData<T>, runId: string): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, runId, data })}\n\n`;
}

/** Resolves true on drain, false when the time is up or the signal fires. */
function waitForDrain(response: ServerResponse, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(false);
    const settle = (drained: boolean) => {
      clearTimeout(timer);
      response.off('drain', onDrain);
      signal.removeEventListener('abort', onAbort);
      resolve(drained);
    };
    const onDrain = () => settle(true);
    const onAbort = () => settle(false);
    const timer = setTimeout(() => settle(false), timeoutMs);
    response.on('drain', onDrain);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** Resolves true after the time, or at once when the signal fires. */
function delay(ms: number, signal: AbortSignal): Promise<true> {
  return new Promise((resolve) => {
    const settle = () => {
      clearTimeout(timer);
      resolve(true);
    };
    const timer = setTimeout(settle, ms);
    timer.unref();
    signal.addEventListener('abort', settle, { once: true });
  });
}
