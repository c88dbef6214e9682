import type { HttpTool } from '@nexus-agent/protocol';
import type { Dispatcher } from 'undici';
import { cutText, isExactNumber, isObject, isTooDeep, parseExactJson, type SecretValues, type Timers } from '#core';
import { decodeText, htmlToMarkdown, readBounded } from '#tools/net';
import { httpFailure, tooLong } from './failures.ts';

export interface AnswerOptions {
  readonly mapping: HttpTool['response'];
  readonly method: string;
  /** The tool promises a shape, so that an answer without a body is null and no sentence. */
  readonly typed: boolean;
  /** The answer comes from somebody whom secrets were sent to. */
  readonly secrets: SecretValues;
  readonly signal: AbortSignal;
  readonly timers: Pick<Timers, 'soon'>;
}

/** Of the body of a refusal; of it the model is shown less. */
const maxRefusalBytes = 64 * 1024;
const maxExcerptChars = 2_000;
const textTypes = /^(text\/|application\/(.*\+)?(json|xml|yaml|x-yaml|javascript|ecmascript|csv|x-ndjson|toml|sql|rtf|graphql)\b)/;
const jsonTypes = /^application\/(.*\+)?json\b|^text\/json\b/;

/** What the model is given of an answer. Throws what is wrong with it: its status, its size, its form. */
export async function readAnswer(response: Dispatcher.ResponseData, options: AnswerOptions): Promise<unknown> {
  const { mapping, method, typed, signal } = options;
  const status = response.statusCode;
  const type = String(response.headers['content-type'] ?? '')
    .slice(0, 200)
    .toLowerCase();
  if (status < 200 || status > 299) throw await refusal(response, type, options);
  if (method === 'HEAD') {
    response.body.destroy();
    return { status, headers: Object.fromEntries(Object.entries(response.headers).filter(([name]) => name !== 'set-cookie')) };
  }
  const { bytes, complete } = await readBounded(response, mapping.maxBytes, signal);
  if (!complete)
    throw tooLong(
      `the answer (${status}) is longer than the ${mapping.maxBytes} bytes that this tool reads; ask for less, such as a page`,
      status,
    );
  if (bytes.length === 0 && mapping.as !== 'json') return typed ? null : `done (${status}), without an answer`;
  const wanted = mapping.as ?? (jsonTypes.test(type) ? 'json' : 'text');
  if (wanted === 'json') return mapJson(readJsonBody(decodeText(bytes, type), status, type, typed), mapping, status);
  if (type === '' ? bytes.includes(0) : !textTypes.test(type))
    throw httpFailure('answer', `the answer (${status}) is no text: ${bytes.length} bytes of ${type || 'an unknown type'}`, { status });
  return readableText(bytes, type, mapping.as === undefined, options);
}

async function readableText(bytes: Buffer, type: string, asPage: boolean, { signal, timers, mapping }: AnswerOptions): Promise<string> {
  const text = decodeText(bytes, type);
  return asPage && type.startsWith('text/html') ? htmlToMarkdown(text, { maxChars: mapping.maxBytes, signal, timers }) : text;
}

async function refusal(response: Dispatcher.ResponseData, type: string, options: AnswerOptions) {
  const status = response.statusCode;
  const { bytes } = await readBounded(response, maxRefusalBytes, options.signal).catch(() => ({ bytes: Buffer.alloc(0) }));
  const readable = bytes.length > 0 && (type === '' ? !bytes.includes(0) : textTypes.test(type));
  const text = readable ? options.secrets.inForeign(await readableText(bytes, type, true, options)).trim() : '';
  const retryAfterMs = retryAfterOf(response);
  return httpFailure('status', `the server answered ${status}${text === '' ? '' : `: ${cutText(text, maxExcerptChars)}`}`, {
    status,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** In seconds, or a date, which is held against that of the answer where it has one: the clock is the server's. */
function retryAfterOf({ headers }: Dispatcher.ResponseData): number | undefined {
  const text = String(headers['retry-after'] ?? '').trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  const [at, now] = [Date.parse(text), Date.parse(String(headers.date ?? ''))];
  return Number.isNaN(at) || Number.isNaN(now) ? undefined : Math.max(0, at - now);
}

/**
 * Numbers that a double does not hold, such as long ids, come as they were written, but for a tool that promises a shape: that is checked
 * on plain numbers.
 */
function readJsonBody(text: string, status: number, type: string, typed: boolean): unknown {
  const what = type === '' ? '' : ` (${type})`;
  if (isTooDeep(text)) throw httpFailure('answer', `the answer (${status}) is JSON that is nested too deep`, { status });
  try {
    const plain = text.replace(/^\uFEFF/, '');
    return typed ? JSON.parse(plain) : parseExactJson(plain);
  } catch (error) {
    throw httpFailure('answer', `the answer (${status}) is not the JSON${what} that it should be`, { status, cause: error });
  }
}

function mapJson(value: unknown, { pointer, pick }: HttpTool['response'], status: number): unknown {
  const part = pointer === undefined ? value : partOf(value, pointer, status);
  if (pick === undefined) return part;
  return Array.isArray(part) ? part.map((item) => picked(item, pick)) : picked(part, pick);
}

function partOf(value: unknown, pointer: string, status: number): unknown {
  let part = value;
  for (const token of pointer.split('/').slice(1)) {
    const name = token.replaceAll('~1', '/').replaceAll('~0', '~');
    const members = Array.isArray(part) || isObject(part) ? part : {};
    if (!Object.hasOwn(members, name) || (Array.isArray(part) && !/^\d+$/.test(name))) {
      const known = Object.keys(members).slice(0, 10).join(', ');
      throw httpFailure(
        'answer',
        `the answer (${status}) has nothing at ${pointer}; where ${JSON.stringify(name)} should be there is ${known || 'nothing'}`,
        {
          status,
        },
      );
    }
    part = (members as Readonly<Record<string, unknown>>)[name]; // a list is read by its indices
  }
  return part;
}

function picked(item: unknown, names: readonly string[]): unknown {
  if (!isObject(item) || isExactNumber(item)) return item;
  return Object.fromEntries(names.filter((name) => Object.hasOwn(item, name)).map((name) => [name, item[name]]));
}
