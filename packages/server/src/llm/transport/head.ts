import { readRetryAfterMs } from './retry-after.ts';

/** What the head of an answer says. */
export interface AnswerHead {
  readonly status: number;
  /** Empty when there is none. */
  readonly contentType: string;
  readonly retryAfterMs?: number;
  readonly requestId?: string;
}

export type ReceivedHead = AnswerHead & { readonly location?: string | undefined };

export function readHead(status: number, header: (name: string) => string | undefined, nowMs: number): ReceivedHead {
  const retryAfterMs = readRetryAfterMs(header, nowMs);
  const requestId = header('x-request-id') ?? header('request-id');
  return {
    status,
    contentType: header('content-type') ?? '',
    location: header('location'),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(requestId === undefined ? {} : { requestId }),
  };
}

export function firstOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
