import type { ServerResponse } from 'node:http';
import type { LiveData, Problem } from '@nexus-agent/protocol';
import type { StreamOutcome } from '#api/contract';
import { NexusError, type Timers } from '#core';
import type { StreamCursor } from '#runs';
import { cursorId } from './cursor.ts';
import { type Encoder, type SentFrame, writesOf } from './encoder.ts';

export interface StreamRequest {
  readonly runId: string;
  readonly cursor: StreamCursor;
  /** Sent with the head of the response. */
  readonly headers: Readonly<Record<string, string>>;
  /** The run's frames from the cursor; the signal ends the iteration. */
  follow(signal: AbortSignal): AsyncIterable<readonly SentFrame[]>;
  /** The body and headers that an error is shown as. */
  problemOf(error: unknown): { problem: Problem; headers: Record<string, string> };
}

/** A stream while it is written. */
export interface OpenStream {
  readonly response: ServerResponse;
  readonly stop: AbortController;
  /** Something was written since the last look for silent streams. */
  active: boolean;
  /** The socket is full, or an event is half written: nothing else may be said. */
  blocked: boolean;
}

export interface WriteOptions {
  /** A reader whose socket stays full for so long is detached. */
  readonly lagMs: number;
  readonly timers: Timers;
  readonly onFrames: (count: number) => void;
  /** One for all streams. */
  readonly encoder: Encoder;
}

/**
 * How long the first frames may take before the head of the response is sent without them. No setting: an error before
 * then is still an ordinary answer, and clients take both forms.
 */
const headDelayMs = 100;

/**
 * Server-sent events with bounded memory: at most one batch per reader is ever in flight, of a long event one piece. While a socket is full the run
 * is not read any further for this reader; one that stays full for `lagMs` is told `stream.lagged` and detached. A
 * reader that leaves is detached and nothing else: the run goes on.
 */
export async function writeStream(
  stream: OpenStream,
  request: StreamRequest,
  { lagMs, timers, onFrames, encoder }: WriteOptions,
): Promise<StreamOutcome> {
  const { response, stop } = stream;
  const leave = () => stop.abort(new NexusError('cancelled', 'the reader left'));
  response.on('close', leave);
  // A socket may fail at any write; what follows from it is the close event.
  response.on('error', () => undefined);
  let lastId = cursorId(request.cursor);
  let iterator: AsyncIterator<readonly SentFrame[]> | null = null;
  /** Half of an event was written: what follows on the stream would be taken for its rest. */
  let within = false;

  /** Gives the socket pieces until it is full: which is the next then, or null when it took all of them and has room. */
  function write(pieces: readonly (string | Buffer)[], from = 0): number | null {
    stream.active = true;
    for (let next = from; next < pieces.length; ) if (!response.write(pieces[next++])) return next;
    return null;
  }

  /** Gives a socket that is full the rest. Resolves when it takes more; false when the reader is to be left: frames are then whole all the same, and the rest waits. */
  async function writeRest(pieces: readonly (string | Buffer)[], from: number): Promise<boolean> {
    for (let next: number | null = from; next !== null; next = write(pieces, next)) {
      stream.blocked = true;
      const drained = await waitForDrain(timers, response, lagMs, stop.signal);
      stream.blocked = within;
      if (drained) continue;
      if (!within && !stop.signal.aborted) write([pieces.slice(next).join('')]);
      return false;
    }
    return true;
  }

  /** Without a wait where the socket has room. */
  function put(pieces: readonly (string | Buffer)[]): true | Promise<boolean> {
    const next = write(pieces);
    return next === null || writeRest(pieces, next);
  }

  /** Writes a long event while it is read. */
  async function putLong(head: string, rest: AsyncIterable<string>): Promise<boolean> {
    within = true;
    stream.blocked = true;
    if (!(await put(writesOf(head)))) return false;
    for await (const piece of rest) {
      if (stop.signal.aborted || !(await put(writesOf(piece)))) return false;
    }
    within = false;
    stream.blocked = false;
    return put(['\n\n']);
  }

  try {
    if (response.destroyed) leave();
    iterator = request.follow(stop.signal)[Symbol.asyncIterator]();
    let next = iterator.next();
    // An error before the first frame is still an ordinary answer; only a log that is silent for a while gets an early head.
    const early = await Promise.race([next.then(() => false), delay(timers, headDelayMs, stop.signal)]);
    if (!response.destroyed) sendHead(response, request.headers);
    if (early && !response.destroyed) response.flushHeaders();
    for (;;) {
      const step = await next;
      if (step.done === true) break;
      let taken = true;
      for (const part of encoder.encode(step.value)) {
        const written = part.type === 'long' ? putLong(part.head, part.rest()) : put(part.pieces);
        taken = written === true || (await written);
        if (taken || part.type === 'frames') lastId = part.lastId ?? lastId;
        if (!taken) break;
      }
      onFrames(step.value.length);
      if (!taken && !stop.signal.aborted) {
        if (!within) return endLagged(timers, response, request.runId, lastId, lagMs);
        response.destroy(); // the reader comes back for the whole event
        return 'lagged';
      }
      if (stop.signal.aborted) break;
      next = iterator.next();
    }
    return finish();
  } catch (error) {
    if (stop.signal.aborted) return finish();
    const { problem, headers } = request.problemOf(error);
    if (within) response.destroy();
    else if (response.headersSent) {
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
    if (within) {
      response.destroy();
      return 'shutdown';
    }
    if (!response.headersSent) sendHead(response, request.headers);
    response.end(': the server is shutting down, reconnect with the last event id\n\n');
    return 'shutdown';
  }
}

function sendHead(response: ServerResponse, headers: Readonly<Record<string, string>>): void {
  response.writeHead(200, { ...headers, 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' });
}

function endLagged(timers: Timers, response: ServerResponse, runId: string, lastEventId: string, lagMs: number): StreamOutcome {
  response.end(eventText('stream.lagged', { lastEventId }, runId));
  // The reader gets as long again to take what is buffered; then the socket and its memory are freed.
  response.once(
    'close',
    timers.after(lagMs, () => response.destroy()),
  );
  return 'lagged';
}

function eventText<T extends 'error' | 'stream.lagged'>(type: T, data: LiveData<T>, runId: string): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, runId, data })}\n\n`;
}

/** Resolves true on drain, false when the time is up or the signal fires. */
function waitForDrain(timers: Timers, response: ServerResponse, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(false);
    const settle = (drained: boolean) => {
      cancel();
      response.off('drain', onDrain);
      signal.removeEventListener('abort', onAbort);
      resolve(drained);
    };
    const onDrain = () => settle(true);
    const onAbort = () => settle(false);
    const cancel = timers.after(timeoutMs, () => settle(false));
    response.on('drain', onDrain);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** Resolves true after the time, or at once when the signal fires. */
function delay(timers: Timers, ms: number, signal: AbortSignal): Promise<true> {
  return new Promise((resolve) => {
    const settle = () => {
      cancel();
      resolve(true);
    };
    const cancel = timers.after(ms, settle);
    signal.addEventListener('abort', settle, { once: true });
  });
}
