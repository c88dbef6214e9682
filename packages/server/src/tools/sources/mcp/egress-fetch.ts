import type { Dispatcher } from 'undici';
import { isObject, NexusError, type Timers } from '#core';
import { createSurvey, type SurveyLimits } from './survey.ts';

/** Nothing of the request has reached the server. */
export class Unreached extends NexusError {
  override readonly name = 'Unreached';
}

export interface EgressFetchOptions extends SurveyLimits {
  readonly agent: Dispatcher;
  readonly timers: Pick<Timers, 'soon'>;
  /** Longest silence of a server before its answer begins. */
  readonly answerTimeoutMs: number;
}

/** What is given to the parsers at a time; others have their turn in between. Each line of a stream of events may be a message. */
const sliceBytes = 32 * 1024;
const sliceLines = 40;
/** By this we say to ourselves, as if the server had, that an answer broke off: the SDK would wait for the rest for ever. */
export const brokeOffCode = -32_099;
/** Responses with these have no body, and must be made without one. */
const bodiless = new Set([101, 103, 204, 205, 304]);
const beforeSending = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT']);

export type Fetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

/**
 * `fetch` as the MCP SDK calls it, by way of our egress: it follows no redirect, keeps no cookie, goes through no proxy, and what comes
 * back is bounded before it is parsed. Throws {@link Unreached} where nothing was sent.
 */
export function createEgressFetch({ agent, timers, answerTimeoutMs, ...limits }: EgressFetchOptions): Fetch {
  return async (target, init = {}) => {
    const url = new URL(target);
    let answer: Dispatcher.ResponseData;
    try {
      answer = await agent.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method: (init.method ?? 'GET') as Dispatcher.HttpMethod, // what the SDK sends is one
        headers: { ...Object.fromEntries(new Headers(init.headers)), 'accept-encoding': 'identity', 'x-nexus-fetch': '1' },
        ...(typeof init.body === 'string' ? { body: init.body } : {}),
        ...(init.signal ? { signal: init.signal } : {}),
        headersTimeout: answerTimeoutMs,
      });
    } catch (error) {
      throw init.signal?.aborted === true ? error : explained(error, url);
    }
    // What is left early raises an error that has no other listener.
    answer.body.on('error', () => undefined);
    const headers = new Headers();
    for (const [name, value] of Object.entries(answer.headers)) {
      if (name === 'set-cookie' || value === undefined) continue;
      for (const each of [value].flat()) headers.append(name, each);
    }
    const encoding = headers.get('content-encoding');
    if (encoding !== null && encoding !== 'identity') {
      answer.body.destroy();
      throw new NexusError('tool_failed', `the MCP server answered in the encoding ${encoding.slice(0, 40)}, which it was not asked for`);
    }
    const { statusCode: status } = answer;
    if (bodiless.has(status) || status < 200) {
      answer.body.destroy();
      return new Response(null, { status: status < 200 ? 204 : status, headers });
    }
    const isStream = headers.get('content-type')?.startsWith('text/event-stream') === true;
    const lastWords = isStream ? lastWordsFor(init.body) : undefined;
    return new Response(bounded(answer.body, createSurvey(limits), timers, lastWords), { status, headers });
  };
}

/** What a stream that answers a request ends with, if it does not end well. */
function lastWordsFor(body: unknown): ((message: string) => Uint8Array) | undefined {
  const request: unknown = typeof body === 'string' ? JSON.parse(body) : undefined; // the SDK has written it
  const id = isObject(request) && request.method !== undefined ? request.id : undefined;
  if (id === undefined) return undefined;
  return (message) => Buffer.from(`\n\ndata: ${JSON.stringify({ jsonrpc: '2.0', id, error: { code: brokeOffCode, message } })}\n\n`);
}

/**
 * The same bytes, a little at a time, as long as there are no more than may be. With last words they are said where it ends, which the
 * SDK ignores when it has the answer; a stream whose events have ids is not over then, as it can be taken up again.
 */
function bounded(
  body: Dispatcher.ResponseData['body'],
  survey: (piece: Uint8Array) => void,
  timers: Pick<Timers, 'soon'>,
  lastWords: ((message: string) => Uint8Array) | undefined,
): ReadableStream {
  const pieces = slices(body);
  let hasIds = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await pieces.next();
          if (next.done === true) {
            if (lastWords !== undefined && !hasIds) controller.enqueue(lastWords('it ended without a result'));
            return controller.close();
          }
          survey(next.value);
          if (lastWords !== undefined && !hasIds) hasIds = /(?:^|[\r\n])id:/.test(Buffer.from(next.value).toString('latin1'));
          await timers.soon();
          controller.enqueue(next.value);
        } catch (error) {
          body.destroy();
          if (lastWords === undefined || (hasIds && !(error instanceof NexusError))) return controller.error(error);
          controller.enqueue(lastWords(error instanceof NexusError ? error.message : 'it broke off'));
          controller.close();
        }
      },
      cancel() {
        body.destroy();
      },
    },
    { highWaterMark: 0 },
  );
}

async function* slices(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    for (let at = 0; at < chunk.length; ) {
      const end = endOfSlice(chunk, at);
      yield chunk.subarray(at, end);
      at = end;
    }
  }
}

function endOfSlice(chunk: Uint8Array, start: number): number {
  const most = Math.min(chunk.length, start + sliceBytes);
  let lines = 0;
  for (let at = start; at < most; at++) {
    if (chunk[at] !== 0x0a && chunk[at] !== 0x0d) continue;
    lines += 1;
    if (lines >= sliceLines) return at + 1;
  }
  return most;
}

/** A failed exchange in words, without addresses. */
function explained(error: unknown, url: URL): NexusError {
  if (error instanceof NexusError) return new Unreached(error.code, error.message, { cause: error });
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  const message = `the MCP server at ${url.hostname} cannot be reached${code === '' ? '' : ` (${code})`}; try later`;
  return beforeSending.has(code)
    ? new Unreached('tool_failed', message, { cause: error, retryable: true, details: { reason: 'connection' } })
    : new NexusError('tool_failed', `the MCP server at ${url.hostname} broke off${code === '' ? '' : ` (${code})`}`, {
        cause: error,
        details: { reason: 'connection' },
      });
}
