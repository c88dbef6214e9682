import { NexusError } from '#core';
import type { PlannedBody, RequestPlan } from './plan.ts';
import { argumentsOf, type Template } from './template.ts';

export type Arguments = Readonly<Record<string, unknown>>;

/** A request as it goes to the server. */
export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  /** As it is sent: the parser of URLs would undo some of what keeps a value in its place. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

/** Characters of a body that is sent. */
const maxBodyChars = 4 * 1024 * 1024;
const maxTargetChars = 16_000;

/**
 * The request of a call. A value stays where it was put: what would lead out of its segment of the path, or begin another parameter or
 * header, is written in escapes, and refused where a server could read it otherwise all the same. Throws `tool_input_invalid`.
 *
 * @param secret the value of a secret; whether it may be used was asked before
 */
export function makeRequest(plan: RequestPlan, input: Arguments, secret: (name: string) => string): HttpRequest {
  const body = makeBody(plan.body, input);
  const query = [
    ...plan.query.flatMap(({ name, value, list }) => valuesOf(value, input, secret, list).map((each) => [name, each] as const)),
    ...(plan.auth?.type === 'query' ? [[plan.auth.name, fill(plan.auth.value, input, secret)] as const] : []),
  ];
  const search = query.map(([name, value]) => `${escaped(name)}=${escaped(value)}`).join('&');
  const path = plan.path.map((segment) => segmentOf(segment, input, secret)).join('/');
  const target = `/${path}${search === '' ? '' : `?${search}`}`;
  if (target.length > maxTargetChars)
    throw invalid(`the address would have ${target.length} characters; at most ${maxTargetChars} are sent`);
  return {
    method: plan.method,
    url: new URL(plan.base.origin + target), // never by resolving it: a path that begins with // would be a host
    target,
    headers: headersOf(plan, input, secret, body),
    body: body?.text ?? null,
  };
}

function headersOf(
  plan: RequestPlan,
  input: Arguments,
  secret: (name: string) => string,
  body: { readonly contentType: string } | null,
): Record<string, string> {
  const headers = new Map<string, string>(body === null ? [] : [['content-type', body.contentType]]);
  const set = (name: string, value: string) => {
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
      throw invalid(`the header ${name} cannot hold a line break or a character beyond Latin-1`);
    headers.set(name, value);
  };
  for (const { name, value } of plan.headers) if (isGiven(value, input)) set(name, fill(value, input, secret));
  const { auth } = plan;
  if (auth?.type === 'header') set(auth.name, fill(auth.value, input, secret));
  if (auth?.type === 'basic') {
    const credentials = `${fill(auth.username, input, secret)}:${fill(auth.password, input, secret)}`;
    set('authorization', `Basic ${Buffer.from(credentials, 'utf8').toString('base64')}`);
  }
  return Object.fromEntries(headers);
}

/** `.` and `..` mean folders to many servers, however they are escaped. */
function segmentOf(segment: Template, input: Arguments, secret: (name: string) => string): string {
  let plain = '';
  let text = '';
  for (const part of segment) {
    const value =
      part.type === 'text' ? part.text : part.type === 'secret' ? secret(part.name) : plainText(part.name, argumentOf(input, part.name));
    if (part.type === 'argument' && value === '') throw invalid(`"${part.name}" is empty, and it is a part of the path`);
    plain += value;
    text += part.type === 'text' ? value.replace(/[^\x21-\x7e]+/g, escaped) : escaped(value);
  }
  if (segment.some(({ type }) => type === 'argument') && /^\.{1,2}$/.test(plain))
    throw invalid(
      `${argumentsOf(segment)
        .map((name) => `"${name}"`)
        .join(' and ')} would make "${plain}" of the path, which leads elsewhere`,
    );
  return text;
}

/** Every character but letters, digits and `-_.~`. */
function escaped(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function valuesOf(value: Template, input: Arguments, secret: (name: string) => string, list: 'repeat' | 'comma'): string[] {
  const [only] = value;
  if (!isGiven(value, input)) return [];
  if (value.length !== 1 || only?.type !== 'argument') return [fill(value, input, secret)];
  const given = argumentOf(input, only.name);
  if (!Array.isArray(given)) return [plainText(only.name, given)];
  const items = given.map((item) => plainText(only.name, item));
  return list === 'comma' ? [items.join(',')] : items;
}

function isGiven(template: Template, input: Arguments): boolean {
  return argumentsOf(template).every((name) => argumentOf(input, name) !== undefined);
}

function fill(template: Template, input: Arguments, secret: (name: string) => string): string {
  return template
    .map((part) => {
      if (part.type === 'text') return part.text;
      return part.type === 'secret' ? secret(part.name) : plainText(part.name, argumentOf(input, part.name));
    })
    .join('');
}

function argumentOf(input: Arguments, name: string): unknown {
  const value = Object.hasOwn(input, name) ? input[name] : undefined;
  return value === null ? undefined : value;
}

function plainText(name: string, value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw invalid(
    value === undefined ? `"${name}" is missing, and the address needs it` : `"${name}" must be a text, a number, true or false`,
  );
}

function makeBody(body: PlannedBody | null, input: Arguments): { readonly text: string; readonly contentType: string } | null {
  const made = body === null ? null : bodyOf(body, input);
  if (made !== null && made.text.length > maxBodyChars)
    throw invalid(`the body would have ${made.text.length} characters; at most ${maxBodyChars} are sent`);
  return made;
}

function bodyOf(body: PlannedBody, input: Arguments): { readonly text: string; readonly contentType: string } | null {
  if (body.type === 'text') {
    const value = argumentOf(input, body.argument);
    return value === undefined ? null : { text: plainText(body.argument, value), contentType: body.contentType };
  }
  const { contentType } = body;
  const given = body.from === 'argument' ? argumentOf(input, body.argument) : fieldsOf(body, input);
  const value = given === undefined && body.required && body.from !== 'argument' ? {} : given;
  if (value === undefined) return null;
  if (body.type === 'json') return { text: JSON.stringify(value), contentType };
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('a form is an object of fields');
  const pairs = Object.entries(value).flatMap(([field, each]) =>
    (Array.isArray(each) ? each : [each])
      .filter((item) => item !== null && item !== undefined)
      .map((item): [string, string] => [field, plainText(field, item)]),
  );
  return { text: new URLSearchParams(pairs).toString(), contentType };
}

/** Undefined when none is given, so that no body is sent. */
function fieldsOf(
  body: Exclude<PlannedBody, { readonly from: 'argument' } | { readonly type: 'text' }>,
  input: Arguments,
): object | undefined {
  const given =
    body.from === 'fields'
      ? body.fields.filter(([, name]) => Object.hasOwn(input, name)).map(([field, name]) => [field, input[name]] as const)
      : Object.entries(input).filter(([name]) => !body.used.has(name));
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

function invalid(message: string): NexusError {
  return new NexusError('tool_input_invalid', `${message}; nothing was sent`);
}
