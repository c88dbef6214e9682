import type { ErrorCode } from '@nexus-agent/protocol';
import { mapTexts, NexusError, redactForeignText, type SecretValues } from '#core';
import { asRecord, asString, carriesSomething } from './json.ts';
import { readOverflow } from './overflow.ts';

/** What a provider said of a failure: in an HTTP answer, or (without a status) in an event of its stream. */
export interface ProviderFailure {
  readonly provider: string;
  readonly model: string;
  readonly status?: number;
  /** The parsed body or event, when it was JSON. */
  readonly body: unknown;
  readonly retryAfterMs?: number;
  readonly requestId?: string;
  /** What was sent to the provider and must not come back. */
  readonly secrets?: SecretValues | undefined;
  /** What may be wrong, for the end of the message. */
  readonly hint?: string;
}

/** A provider's failure as one of our errors; its text is kept only where it helps, cut, and without anything like a key. */
export function providerError(failure: ProviderFailure): NexusError {
  const { secrets } = failure;
  // Before anything is cut: half a key is told by nothing.
  const told = readBody(secrets === undefined ? failure.body : mapTexts(failure.body, secrets.inForeign));
  const status = failure.status ?? told.status;
  const overflow = readOverflow({ ...told, status });
  const code = overflow === null ? codeFor(status, told) : 'context_overflow';
  const shown = code === 'provider_auth' || told.message === '' ? '' : `: ${brief(told.message)}`;
  const noCredit = told.type.includes('insufficient_quota');
  const hint = failure.hint === undefined ? '' : `; ${failure.hint}`;
  return new NexusError(code, `${failure.provider} ${phraseFor(code, status)}${shown}${hint}`, {
    details: {
      provider: failure.provider,
      model: failure.model,
      ...(status === undefined ? {} : { status }),
      ...(told.type === '' ? {} : { providerCode: brief(told.type).slice(0, 100) }),
      ...(told.field === '' ? {} : { field: brief(told.field).slice(0, 100) }),
      ...overflow,
      ...(failure.requestId === undefined ? {} : { requestId: (secrets?.inForeign(failure.requestId) ?? failure.requestId).slice(0, 100) }),
    },
    ...(failure.retryAfterMs === undefined ? {} : { retryAfterMs: failure.retryAfterMs }),
    ...(noCredit ? { retryable: false } : {}),
  });
}

/** Whether what came instead of an answer, or in the middle of one, reports an error. `name` is the event's, or empty. */
export function isErrorReport(name: string, body: Readonly<Record<string, unknown>>): boolean {
  if (name === 'error' || body.type === 'error' || body.object === 'error' || carriesSomething(body.error)) return true;
  if (body.type !== undefined && body.title === undefined) return false;
  if (carriesSomething(body.choices)) return false;
  const told =
    [body.detail, body.errors, body.Error].some(carriesSomething) || [body.message, body.msg].some((text) => typeof text === 'string');
  return told || body.success === false || (typeof body.status === 'number' && body.status >= 400);
}

interface Told {
  readonly message: string;
  /** All machine-readable words of the error, joined. */
  readonly type: string;
  /** The member of the request that is meant, where the provider names one apart. */
  readonly field: string;
  readonly status: number | undefined;
  readonly error: Readonly<Record<string, unknown>>;
}

function codeFor(status: number | undefined, told: Told): ErrorCode {
  const words = told.type;
  if (status === undefined) {
    if (/rate_limit|too_many_requests|insufficient_quota|resource_exhausted/.test(words)) return 'provider_rate_limited';
    if (/authentication|permission|invalid_api_key|billing/.test(words)) return 'provider_auth';
    if (/content_filter|content_policy/.test(words)) return 'content_filtered';
    if (/invalid_request|not_found|invalid_/.test(words)) return 'provider_rejected';
    if (/timeout/.test(words)) return 'provider_timeout';
    return 'provider_unavailable';
  }
  if (status === 401 || status === 402 || status === 403) return 'provider_auth';
  if (status === 429) return 'provider_rate_limited';
  if (status === 408 || status === 409 || status === 425 || status >= 500) return 'provider_unavailable';
  if (/content_filter|content_policy/.test(words)) return 'content_filtered';
  return 'provider_rejected';
}

function phraseFor(code: ErrorCode, status: number | undefined): string {
  const suffix = status === undefined ? '' : ` (status ${status})`;
  switch (code) {
    case 'provider_auth':
      return `refused the credentials, or there were none${suffix}; check the API key and the account`;
    case 'provider_rate_limited':
      return `limits the request rate${suffix}`;
    case 'context_overflow':
      return `cannot fit the conversation into the model${suffix}`;
    case 'content_filtered':
      return `withheld the answer${suffix}`;
    case 'provider_unavailable':
      return `failed${suffix}`;
    case 'provider_timeout':
      return `timed out${suffix}`;
    default:
      if (status !== undefined && status >= 300 && status < 400)
        return `redirects elsewhere${suffix}, which is not followed; its base URL has to be where it leads to`;
      return `refused the request${suffix}`;
  }
}

function readBody(body: unknown): Told {
  const outer = firstRecord(body);
  if (outer === null) return { message: '', type: '', field: '', status: undefined, error: {} };
  const error = firstRecord(outer.error) ?? firstRecord(outer.errors) ?? outer;
  const plain = asString(outer.error) || asString(outer.Error); // Ollama: {"error":"…"}
  // What is longer says no more to anybody, and would take its time.
  const said = [error.message, plain, outer.detail, error.detail, error.msg, error.title].map((value) => sayings(value, 0));
  const words = [error.type, error.code, error.status].filter((word) => typeof word === 'string');
  const numbers = [error.code, error.status, outer.status].map((item) =>
    typeof item === 'string' && item.length <= longestWord ? Number(item) : item,
  );
  const status = numbers.find((item) => typeof item === 'number' && item >= 400 && item < 600);
  return {
    message: cut(said.find((text) => text !== '') ?? '', longestMessage),
    type: words
      .map((word) => cut(String(word), longestWord))
      .join(' ')
      .toLowerCase(),
    field: typeof error.param === 'string' ? cut(error.param, longestWord) : '',
    status: typeof status === 'number' ? status : undefined,
    error,
  };
}

const longestMessage = 4_000;
const longestWord = 200;

function cut(text: string, most: number): string {
  return text.length <= most ? text : text.slice(0, most).toWellFormed();
}

/** The value when it is an object, or the first of a list of objects: some servers answer with a list of errors. */
function firstRecord(value: unknown): Readonly<Record<string, unknown>> | null {
  return asRecord(Array.isArray(value) ? value[0] : value);
}

/** A message in words: a text, or a list of what is wrong where, as servers in Python send it. */
function sayings(value: unknown, depth: number): string {
  if (typeof value === 'string') return value;
  if (depth > 3) return '';
  if (Array.isArray(value)) {
    return value
      .slice(0, 10)
      .map((item) => sayings(item, depth + 1))
      .filter((text) => text !== '')
      .join('; ');
  }
  const node = asRecord(value);
  if (node === null) return '';
  const text = typeof node.msg === 'string' ? node.msg : sayings(node.message ?? node.detail, depth + 1);
  const place = Array.isArray(node.loc) ? node.loc.filter((step) => typeof step === 'string' || typeof step === 'number').join('.') : '';
  return place === '' ? text : `${place}: ${text}`;
}

/** A provider's text on one line, cut, without what looks like a credential. */
function brief(text: string): string {
  const clean = redactForeignText(text).replace(/\s+/g, ' ');
  return clean.length > 300 ? `${clean.slice(0, 300)}…` : clean;
}
