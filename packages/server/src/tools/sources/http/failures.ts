import { NexusError } from '#core';

/** Why a call failed, for programs; the message says it to models and people. */
export type FailureReason = 'connection' | 'silent' | 'status' | 'answer' | 'redirect' | 'secret';

export interface FailureFacts {
  readonly status?: number;
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

export function httpFailure(reason: FailureReason, message: string, { status, retryAfterMs, cause }: FailureFacts = {}): NexusError {
  return new NexusError('tool_failed', message, {
    details: { reason, ...(status === undefined ? {} : { status }), ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
    retryable: status === 429 || status === 503,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** An answer that is too long: it was read no further. */
export function tooLong(what: string, status?: number): NexusError {
  return new NexusError('limit_exceeded', what, { details: { limit: 'output', ...(status === undefined ? {} : { status }) } });
}

const silent = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

/**
 * A failed exchange in words, with no address but the one that the definition names: `to`, where it is certain that it was that one. What
 * is known already stays as it is.
 */
export function explainExchange(error: unknown, to = ''): NexusError {
  if (error instanceof NexusError) return error;
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return tooLong('the headers of the answer are longer than the 16 KB that are read');
  const named = code === '' ? '' : ` (${code})`;
  if (silent.has(code)) return httpFailure('silent', `the server said nothing for too long${named}; try later`, { cause: error });
  if (/^(Z_|ERR_BROTLI|ERR__ERROR)/.test(code)) return httpFailure('answer', `the answer cannot be decompressed${named}`, { cause: error });
  if (code.startsWith('HPE_') || (error instanceof Error && error.name === 'HTTPParserError'))
    return httpFailure('answer', `the server does not speak HTTP as it should${named}`, { cause: error });
  return httpFailure('connection', `the connection${to === '' ? '' : ` to ${to}`} failed${named}; try later`, { cause: error });
}
