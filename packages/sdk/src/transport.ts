import { errorOf, localError, NexusApiError } from './errors.ts';
import { localTokenOf } from './local-token.ts';

export interface RetryOptions {
  /** Attempts in a row without progress, the first included. */
  readonly maxAttempts: number;
  readonly baseMs: number;
  readonly maxMs: number;
}

export interface TransportOptions {
  readonly baseUrl: string;
  /** Without one, a server on this machine is shown the token of its user, in Node and where there is one. */
  readonly apiKey?: string | undefined;
  /** Where such tokens are looked for; by default in the folder of this user's programs. */
  readonly tokenFolders?: readonly string[];
  readonly fetch?: typeof globalThis.fetch;
  readonly retry?: Partial<RetryOptions>;
}

export interface RequestOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** An answer that is none of success is given like one: its body is not a problem. */
  readonly anyStatus?: boolean;
  /** True when sending it twice does no harm. */
  readonly repeatable: boolean;
}

export interface Transport {
  readonly retry: RetryOptions;
  /** One attempt. Resolves with a successful answer; throws {@link NexusApiError} otherwise, or the signal's reason. */
  send(path: string, options: RequestOptions): Promise<Response>;
  /** Repeats what is repeatable while the failure is retryable, honouring `Retry-After`; gives the parsed JSON. */
  json<T>(path: string, options: RequestOptions): Promise<T>;
}

export function createTransport(options: TransportOptions): Transport {
  const base = options.baseUrl.replace(/\/+$/, '');
  const named = withoutCredentials(base);
  const send = options.fetch ?? globalThis.fetch;
  const retry: RetryOptions = { maxAttempts: 4, baseMs: 200, maxMs: 5000, ...options.retry };

  const localToken = options.apiKey === undefined ? localTokenOf(base, options.tokenFolders) : undefined;

  const transport: Transport = {
    retry,
    async send(path, { method = 'GET', query = {}, body, headers = {}, signal, anyStatus = false }) {
      const parameters = new URLSearchParams();
      for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
      const search = parameters.size === 0 ? '' : `?${parameters}`;
      const authorization = authorizationOf(options.apiKey ?? localToken?.());
      let response: Response;
      try {
        response = await send(`${base}${path}${search}`, {
          method,
          headers: {
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...authorization,
            ...headers,
          },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          ...(signal === undefined ? {} : { signal }),
        });
      } catch (cause) {
        signal?.throwIfAborted();
        if (cause instanceof NexusApiError) throw cause; // whoever gave the `fetch` knows better
        throw localError('unavailable', `no answer from ${named}: ${reasonOf(cause).replaceAll(base, named)}`, cause);
      }
      if (!response.ok && !anyStatus) throw await errorOf(response);
      return response;
    },
    async json<T>(path: string, request: RequestOptions): Promise<T> {
      for (let attempt = 1; ; attempt++) {
        try {
          const response = await transport.send(path, request);
          const text = await response.text();
          return (text === '' ? undefined : parsed(text, named)) as T; // the server's schema for this path
        } catch (error) {
          request.signal?.throwIfAborted();
          if (!request.repeatable || attempt >= retry.maxAttempts || !isRetryable(error)) throw error;
          await backOff(attempt, retry, error, request.signal);
        }
      }
    },
  };
  return transport;
}

/** How the server is named in errors: its address may hold what errors must not. */
function withoutCredentials(base: string): string {
  return base.replace(/[?#].*$/s, '').replace(/^([a-z][a-z0-9+.-]*:\/\/).*@/is, '$1');
}

/** The header of a key. The runtime would repeat a key in its error that no header can hold. */
function authorizationOf(apiKey: string | undefined): Record<string, string> {
  if (apiKey === undefined) return {};
  const key = apiKey.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw localError(
      'unauthenticated',
      'the API key holds a blank, a line break or another character that no key has; check how it is set',
    );
  }
  return { authorization: `Bearer ${key}` };
}

function parsed(text: string, base: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw localError('internal', `${base} answered with something else than JSON; check that it is the address of a Nexus server`, cause);
  }
}

/**
 * Whether the server itself refuses, and will again: what stands before it answers with pages of its own while the server is away, and
 * what failed inside it may be over. Only that a message is too large is believed of anybody.
 */
export function isRefusal(error: unknown): boolean {
  if (!(error instanceof NexusApiError)) return false;
  if (error.status === 413) return true;
  return error.problem.type !== 'about:blank' && error.status < 500 && !error.retryable;
}

export function isRetryable(error: unknown): boolean {
  // Anything else is a connection that broke while its answer was read.
  return error instanceof NexusApiError ? error.retryable : !(error instanceof SyntaxError);
}

/** The longest that a timer can wait: with more it would fire at once. */
export const maxTimerMs = 2 ** 31 - 1;

/** Waits before attempt `attempt + 1`: exponential with full jitter, never shorter than the server asked. */
export function backOff(attempt: number, retry: RetryOptions, error: unknown, signal?: AbortSignal): Promise<void> {
  const ceiling = Math.min(retry.maxMs, retry.baseMs * 2 ** (attempt - 1));
  const asked = error instanceof NexusApiError ? (error.retryAfterMs ?? 0) : 0;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(
      () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      },
      Math.min(maxTimerMs, Math.max(asked, Math.random() * ceiling)),
    );
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const inner = cause.cause;
  return inner instanceof Error && inner.message !== ''
    ? inner.message
    : inner instanceof Error && 'code' in inner
      ? String(inner.code)
      : cause.message;
}

/** A key that makes a creating request repeatable. Works where `randomUUID` does not (pages without TLS). */
export function newIdempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
