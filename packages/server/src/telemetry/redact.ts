import { NexusError } from '#core';

const maxDepth = 6;
const maxItems = 50;
const maxTextChars = 2000;
const removed = '[redacted]';

/** Names of fields that hold credentials, or what people and models wrote. */
const secretName = /(authorization|cookie|password|passwd|secret|credentials?|(api|private|access)[-_]?key|token)$/i;
const contentName = /^(prompt|prompts|instructions|messages|content|input|output|arguments|body)$/i;
/** Credentials inside a text: our keys, provider keys, bearer tokens, passwords in addresses. */
const secretText =
  /\bnx_[A-Za-z0-9]+_[A-Za-z0-9_-]{8,}|\bsk-[A-Za-z0-9_-]{8,}|\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}|(?<=:\/\/[^\s/:@]{0,200}:)[^\s/@]{1,200}(?=@)/gi;

/** A copy of the fields that is safe to write: credentials and content replaced, texts and depth bounded, errors as data. */
export function redact(fields: object): Record<string, unknown> {
  return redactObject(fields, 0);
}

function redactObject(value: object, depth: number): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value))
    copy[name] = secretName.test(name) || contentName.test(name) ? removed : redactValue(item, depth);
  return copy;
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return String(value);
  if (value === null || typeof value !== 'object') return value;
  if (depth >= maxDepth) return '[deeper]';
  if (value instanceof Error) return describeError(value, depth);
  if (value instanceof Date) return value;
  if (Array.isArray(value)) return value.slice(0, maxItems).map((item) => redactValue(item, depth + 1));
  return redactObject(value, depth + 1);
}

function redactText(text: string): string {
  const bounded = text.length > maxTextChars ? `${text.slice(0, maxTextChars)}… (${text.length} characters)` : text;
  return bounded.replace(secretText, removed);
}

/** `details` of an error may hold what a tool was given; they reach the client, not the log. */
function describeError(error: Error, depth: number): Record<string, unknown> {
  const code = error instanceof NexusError ? error.code : 'code' in error ? error.code : undefined;
  return {
    type: error.name,
    ...(typeof code === 'string' ? { code } : {}),
    message: redactText(error.message),
    ...(error.stack === undefined ? {} : { stack: redactText(error.stack) }),
    ...(error.cause === undefined ? {} : { cause: redactValue(error.cause, depth + 1) }),
  };
}
