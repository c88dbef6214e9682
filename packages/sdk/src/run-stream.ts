import { terminalEventTypes, type WireEvent } from '@nexus-agent/protocol';
import { localError, NexusApiError } from './errors.ts';
import { decodeSse } from './sse-decoder.ts';
import { backOff, isRetryable, maxTimerMs, type Transport } from './transport.ts';

export interface StreamOptions {
  /** Ends the iteration by throwing the signal's reason. The run goes on: cancelling it is a call of its own. */
  readonly signal?: AbortSignal;
  /** A connection that is silent for so long, pings included, is given up and resumed. Default 60 s; 24 days at most. */
  readonly idleTimeoutMs?: number;
}

export interface StreamSource {
  /** Opens the stream for the first time. Repeating it must be harmless. */
  open(signal: AbortSignal): Promise<Response>;
  /** Id of the run, where it is known before the first answer. */
  readonly runId?: string;
  /** Where to begin; an event id. */
  readonly after?: string;
}

const terminal: ReadonlySet<string> = new Set(terminalEventTypes);

/**
 * The events of a run to its end, each once and in order, over as many connections as it takes. After a cut, a lag or a
 * server that shuts down it goes on behind the last event seen. There are none when a run has ended and `after` is its last. It gives up with the last error after
 * `retry.maxAttempts` attempts in a row without a new event.
 */
export async function* streamRun(transport: Transport, source: StreamSource, options: StreamOptions = {}): AsyncGenerator<WireEvent> {
  const { signal, idleTimeoutMs = 60_000 } = options;
  let runId = source.runId ?? null;
  let lastId = source.after ?? null;
  let opened = false;
  let failures = 0;
  for (;;) {
    signal?.throwIfAborted();
    const connection = new AbortController();
    const onAbort = () => connection.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    let idle: ReturnType<typeof setTimeout> | undefined;
    const alive = () => {
      clearTimeout(idle);
      idle = setTimeout(() => connection.abort(localError('unavailable', 'the stream fell silent')), Math.min(maxTimerMs, idleTimeoutMs));
    };
    let failure: unknown = localError('unavailable', 'the stream ended before the run did');
    let progressed = false;
    try {
      alive();
      const response =
        !opened || runId === null ? await source.open(connection.signal) : await resume(transport, runId, lastId, connection.signal);
      opened = true;
      if (response.status === 204) return; // the run had ended, and its end was seen
      runId ??= response.headers.get('nexus-run-id');
      if (response.body === null) throw localError('unavailable', 'the stream has no body');
      for await (const frame of decodeSse(response.body, alive)) {
        const event = JSON.parse(frame.data) as WireEvent; // the server's event schema; unknown types pass through
        runId ??= event.runId;
        if (event.type === 'error') throw new NexusApiError(event.data);
        if (event.type === 'stream.lagged') {
          progressed = true;
          break;
        }
        // A reset replaces the text, so it may stand at a place that was seen before.
        if (frame.id !== null && event.type !== 'message.reset' && lastId !== null && !isAfter(frame.id, lastId)) continue;
        if (frame.id !== null) lastId = frame.id;
        progressed = true;
        failures = 0;
        yield event;
        if (terminal.has(event.type)) return;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (!isRetryable(error)) throw error;
      failure = connection.signal.aborted ? connection.signal.reason : error;
    } finally {
      clearTimeout(idle);
      signal?.removeEventListener('abort', onAbort);
      connection.abort();
    }
    failures = progressed ? 1 : failures + 1;
    if (failures >= transport.retry.maxAttempts) throw failure;
    await backOff(failures, transport.retry, failure, signal);
  }
}

function resume(transport: Transport, runId: string, lastId: string | null, signal: AbortSignal): Promise<Response> {
  return transport.send(`/v1/runs/${encodeURIComponent(runId)}/events`, {
    headers: { accept: 'text/event-stream', ...(lastId === null ? {} : { 'last-event-id': lastId }) },
    signal,
    repeatable: true,
  });
}

function isAfter(id: string, last: string): boolean {
  const [seq = 0, offset = 0] = id.split('.').map(Number);
  const [lastSeq = 0, lastOffset = 0] = last.split('.').map(Number);
  return seq > lastSeq || (seq === lastSeq && offset > lastOffset);
}
