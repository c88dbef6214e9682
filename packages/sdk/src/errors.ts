import { type ErrorCode, errorTable, type Problem } from '@nexus-agent/protocol';

/** A refusal or failure that the server stated, or the want of any answer (`unavailable`). */
export class NexusApiError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly retryable: boolean;
  readonly problem: Problem;
  /** From `Retry-After`. */
  readonly retryAfterMs: number | undefined;

  constructor(problem: Problem, options: { retryAfterMs?: number; cause?: unknown } = {}) {
    super(problem.detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'NexusApiError';
    this.code = problem.code;
    this.status = problem.status;
    this.retryable = problem.retryable;
    this.problem = problem;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** An error made on this side, in the server's terms. */
export function localError(code: ErrorCode, detail: string, cause?: unknown): NexusApiError {
  const entry = errorTable[code];
  const problem = { type: 'about:blank', title: entry.title, status: entry.httpStatus, detail, code, retryable: entry.retryable };
  return new NexusApiError(problem, cause === undefined ? {} : { cause });
}

/** Reads a failed answer. One that is not a problem (from a proxy, say) is described by its status. */
export async function errorOf(response: Response): Promise<NexusApiError> {
  const text = await response.text().catch(() => '');
  const waitMs = readRetryAfterMs(response.headers.get('retry-after'));
  const retryAfterMs = waitMs === undefined ? {} : { retryAfterMs: waitMs };
  const problem = readProblem(text);
  if (problem !== null) return new NexusApiError(problem, retryAfterMs);
  const code = codeOf(response.status);
  return new NexusApiError(
    {
      type: 'about:blank',
      title: errorTable[code].title,
      status: response.status,
      detail: `the server answered ${response.status} ${response.statusText}`.trim(),
      code,
      retryable: response.status === 429 || response.status >= 502,
    },
    retryAfterMs,
  );
}

/** In seconds, as our server says it, or as a date, as others may that stand before it. */
function readRetryAfterMs(value: string | null): number | undefined {
  if (value === null) return undefined;
  const seconds = Number(value);
  if (Number.isFinite(seconds) && seconds >= 0) return seconds * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

function codeOf(status: number): ErrorCode {
  switch (status) {
    case 401:
      return 'unauthenticated';
    case 404:
      return 'not_found';
    case 429:
      return 'rate_limited';
    default:
      return status >= 500 ? 'unavailable' : 'invalid_request';
  }
}

/** A problem as the server writes it; null for anything else. By hand: the schemas of the protocol would be most of a web page's bundle. */
function readProblem(text: string): Problem | null {
  const value = parseJson(text);
  if (!isRecord(value)) return null;
  const { type, title, status, detail, code, retryable, instance, details } = value;
  if (typeof type !== 'string' || typeof title !== 'string' || typeof detail !== 'string' || typeof retryable !== 'boolean') return null;
  if (typeof status !== 'number' || !Number.isSafeInteger(status) || !isErrorCode(code)) return null;
  if (instance !== undefined && typeof instance !== 'string') return null;
  if (details !== undefined && !isRecord(details)) return null;
  const extras = {
    ...(instance === undefined ? {} : { instance }),
    ...(details === undefined ? {} : { details: withoutPrototype(details) }),
  };
  return { type, title, status, detail, code, retryable, ...extras };
}

/** As the schema reads it: JSON may hold a member `__proto__`, which whoever copies the details would take for their prototype. */
function withoutPrototype({ ['__proto__']: _, ...details }: Record<string, unknown>): Record<string, unknown> {
  return details;
}

function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(errorTable, value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return Object.prototype.toString.call(value) === '[object Object]'; // of what JSON holds, a mapping alone
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
