import { type ErrorCode, type ErrorInfo, errorTable } from '@nexus-agent/protocol';

export interface NexusErrorOptions {
  readonly details?: Record<string, unknown>;
  /** Overrides the table's `retryable` where this place knows better. */
  readonly retryable?: boolean;
  /** Wait at least this long before trying again. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/**
 * The error that crosses a module's door. `message` states what happened and what to do, and is shown to clients: write no
 * secret and no prompt into it. What only the log may see belongs in `cause`.
 */
export class NexusError extends Error {
  readonly code: ErrorCode;
  readonly details: Record<string, unknown> | undefined;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: NexusErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'NexusError';
    this.code = code;
    this.details = options.details;
    this.retryable = options.retryable ?? errorTable[code].retryable;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** The error as a value for events, tool results and stored runs. */
  toInfo(): ErrorInfo {
    return {
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      ...(this.details === undefined ? {} : { details: this.details }),
    };
  }
}

/** Any thrown value as an error value; what is not a {@link NexusError} becomes `internal` with `fallbackMessage`. */
export function toErrorInfo(error: unknown, fallbackMessage = 'an unexpected error; see the log'): ErrorInfo {
  if (error instanceof NexusError) return error.toInfo();
  return { code: 'internal', message: fallbackMessage, retryable: false };
}
