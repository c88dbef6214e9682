import { newIdempotencyKey, type RequestOptions, type Transport } from './transport.ts';

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface CreateOptions extends CallOptions {
  /** Default: a new key per call, so that the client's own retries create once. */
  readonly idempotencyKey?: string;
}

export interface PageOptions extends CallOptions {
  readonly limit?: number;
  readonly cursor?: string;
}

/** The kinds of call that resources are made of. */
export interface Calls {
  /** Reads; repeated while the failure is retryable. */
  get<T>(path: string, query?: RequestOptions['query'], call?: CallOptions): Promise<T>;
  /** Changes something. PUT and DELETE are repeated while the failure is retryable, POST never is. */
  act<T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body: unknown, call?: CallOptions): Promise<T>;
  /** Creates something once, however often it has to be sent: all attempts carry one idempotency key. */
  create<T>(path: string, body: unknown, call?: CreateOptions): Promise<T>;
}

export function createCalls(transport: Transport): Calls {
  return {
    get: (path, query = {}, { signal } = {}) =>
      transport.json(path, { query, repeatable: true, ...(signal === undefined ? {} : { signal }) }),
    act: (method, path, body, { signal } = {}) =>
      transport.json(path, { method, body, repeatable: method !== 'POST', ...(signal === undefined ? {} : { signal }) }),
    create: (path, body, { signal, idempotencyKey = newIdempotencyKey() } = {}) =>
      transport.json(path, {
        method: 'POST',
        body,
        headers: { 'idempotency-key': idempotencyKey },
        repeatable: true,
        ...(signal === undefined ? {} : { signal }),
      }),
  };
}

export function paging({ limit, cursor }: PageOptions): { limit: number | undefined; cursor: string | undefined } {
  return { limit, cursor };
}

/** The path of one resource, or of something below it. */
export function at(path: string, id: string, rest = ''): string {
  return `${path}/${encodeURIComponent(id)}${rest}`;
}
