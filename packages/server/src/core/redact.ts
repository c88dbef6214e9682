import { NexusError } from './errors.ts';
import { noSecrets, type SecretValues } from './secrets/secret-values.ts';

const removed = '[redacted]';

/**
 * Keys by the shapes that their makers give them. None needs anything after it to be one, so that a search over a text
 * never scans a part of it twice, and a key whose end was cut off is still found. `x{8}x*` and not `x{8,}`: for that the
 * engine of JavaScript keeps a note for each repetition, and gives up on a text of some millions of characters.
 */
const keyShapes = [
  // OpenAI and those that follow it, Anthropic (sk-ant-), OpenRouter; also as a provider shows them again: sk-pr**********ef.
  /[sS][kK]-[\w*.-]{5}[\w*.-]*[\w*-]/,
  // Our own: nx_<id>_<secret>.
  /[nN][xX]_[A-Za-z0-9]+_[\w-]{8}[\w-]*/,
  // AWS key ids.
  /A(?:KIA|SIA)[A-Z0-9]{10}[A-Z0-9]*/,
  // Google: API keys, access tokens.
  /AIza[\w-]{16}[\w-]*/,
  /ya29\.[\w-]{16}[\w-]*/,
  // GitHub, GitLab, npm.
  /gh[pousr]_[A-Za-z0-9]{16}[A-Za-z0-9]*/,
  /github_pat_\w{16}\w*/,
  /glpat-[\w-]{16}[\w-]*/,
  /npm_[A-Za-z0-9]{30}[A-Za-z0-9]*/,
  // Slack, Stripe.
  /xox[a-z]-[A-Za-z0-9-]{8}[A-Za-z0-9-]*/,
  /xapp-[A-Za-z0-9-]{8}[A-Za-z0-9-]*/,
  /[rs]k_(?:live|test)_[A-Za-z0-9]{8}[A-Za-z0-9]*/,
  // Groq, Hugging Face, xAI, Perplexity, Replicate.
  /gsk_[A-Za-z0-9]{16}[A-Za-z0-9]*/,
  /hf_[A-Za-z0-9]{16}[A-Za-z0-9]*/,
  /xai-[\w-]{16}[\w-]*/,
  /pplx-[\w-]{16}[\w-]*/,
  /r8_[A-Za-z0-9]{16}[A-Za-z0-9]*/,
  // Together, Fireworks, Cerebras, NVIDIA, Voyage, Tavily, LangSmith, E2B, ElevenLabs.
  /tgp_v\d_[\w-]{16}[\w-]*/,
  /fw_[A-Za-z0-9]{20}[A-Za-z0-9]*/,
  /csk-[A-Za-z0-9]{16}[A-Za-z0-9]*/,
  /nvapi-[\w-]{16}[\w-]*/,
  /pa-[\w-]{40}[\w-]*/,
  /tvly-[\w-]{16}[\w-]*/,
  /lsv2_[a-z]{2}_[a-z0-9]{16}[a-z0-9_]*/,
  /e2b_[a-z0-9]{32}[a-z0-9]*/,
  /sk_[A-Za-z0-9]{32}[A-Za-z0-9]*/,
  // DigitalOcean, SendGrid, Twilio, Telegram, PyPI, Vault, Databricks, Linear, Notion, Shopify, Supabase.
  /do[opr]_v1_[a-f0-9]{32}[a-f0-9]*/,
  /SG\.[\w-]{16}[\w-]*\.[\w-]{16}[\w-]*/,
  /SK[a-f0-9]{32}/,
  /\d{8}\d{0,4}:AA[\w-]{30}[\w-]*/,
  /pypi-[\w-]{32}[\w-]*/,
  /hv[sbr]\.[\w-]{24}[\w-]*/,
  /dapi[a-f0-9]{32}/,
  /lin_api_[A-Za-z0-9]{16}[A-Za-z0-9]*/,
  /ntn_[A-Za-z0-9]{32}[A-Za-z0-9]*/,
  /shp[a-z]{2}_[a-fA-F0-9]{32}/,
  /sbp_[a-f0-9]{32}[a-f0-9]*/,
  // JSON Web Tokens, signed or encrypted.
  /eyJ[\w-]{8}[\w-]*(?:\.[\w-]+){0,4}/,
];

/** A key begins where no letter or digit is before it ("risk-assessment" holds none), or behind an escape of JSON or of an address. */
const start = '(?:(?<![A-Za-z0-9])|(?<=\\\\[bfnrt]|\\\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2}))';
const keys = new RegExp(`${start}(?:${keyShapes.map(({ source }) => source).join('|')})`, 'g');

const credentials = new RegExp(`${start}(Bearer|Basic)(\\s+|%20|\\+)[A-Za-z0-9._~+/=*-]{8}[A-Za-z0-9._~+/=*-]*`, 'gi');
/** `api-key: 0123…`, `"password":"…"`, `&token=…`. A value without a digit is more often a sentence than a secret. */
const assignments =
  /((?:api|access|private|secret|account|subscription)[-_ ]?key|password|passwd|pwd|secret|token)(\\?["']?\s*[:=]\s*\\?["']?|\\?["']\s*,\s*\\?["'])(?=[^\s"',;&\\\d]{0,200}\d)[^\s"',;&\\]{6}[^\s"',;&\\]*/gi;
/** `password=…` as connection strings write it, also of letters only. */
const passwords = /((?:password|passwd|pwd)=)[^\s"',;&\\]{4}[^\s"',;&\\]*/gi;
/** `?key=…`, `&sig=…`. */
const parameters = /([?&](?:key|sig|signature|x-amz-signature|code)=)[^\s"'<>&#\\]{16}[^\s"'<>&#\\]*/gi;
/** Lines of headers: `Authorization: Token …`, `Cookie: name=value; …`. */
const schemes = 'ApiKey|AWS4-HMAC-SHA256|Digest|Hawk|HMAC|Key|Negotiate|NTLM|OAuth|SharedKey|Signature|Token';
const authorizationLines = new RegExp(`(authorization\\s*[:=]\\s*(?:${schemes})) [^\\r\\n\\\\]{6,2000}`, 'gi');
const quotedAuthorizations = new RegExp(`(authorization\\\\?["']\\s*[:=,]\\s*\\\\?["'](?:${schemes})) [^\\r\\n"'\\\\]{6,2000}`, 'gi');
const cookies = /((?:set-)?cookie\\?["']?\s*[:=]\s*\\?["']?)[\w.-]{1,100}=[^\r\n"'\\]{4,4000}/gi;
/** With a bare slash in it, which no address may have, a password is what a person gets wrong, and then told of. A port is none. */
const urlPasswords = /(:\\?\/\\?\/[^\s/:@]*:)(?:[^\s/]+@|(?!\d{1,5}\\?[/?#])[^\s"'<>@:]{1,200}@)/g;
/** The same within the parameters of another address. */
const encodedUrlPasswords = /(%3A%2F%2F(?:(?!%3A|%40)\S){0,200}%3A)(?:(?!%40)\S){1,200}%40/gi;
const privateKey = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g;
const endOfKey = /-----END[A-Z0-9 ]{0,60}(?:-----)?/g;

/** The text without the credentials that can be told by their shape. Takes time proportional to the length of the text. */
export function redactText(text: string): string {
  return maskUrlPasswords(withoutPrivateKeys(text))
    .replace(credentials, `$1$2${removed}`)
    .replace(authorizationLines, `$1 ${removed}`)
    .replace(quotedAuthorizations, `$1 ${removed}`)
    .replace(cookies, `$1${removed}`)
    .replace(assignments, `$1$2${removed}`)
    .replace(passwords, `$1${removed}`)
    .replace(parameters, `$1${removed}`)
    .replace(keys, removed);
}

/** `postgres://user:[redacted]@host/database`, wherever in the text it stands. */
function maskUrlPasswords(text: string): string {
  const plain = text.includes('@') ? text.replace(urlPasswords, `$1${removed}@`) : text;
  return plain.includes('%40') ? plain.replace(encodedUrlPasswords, `$1${removed}%40`) : plain;
}

/** A block goes up to its end, or to the end of the text when that was cut off. */
function withoutPrivateKeys(text: string): string {
  let clean = '';
  let at = 0;
  privateKey.lastIndex = 0;
  for (let found = privateKey.exec(text); found !== null; found = privateKey.exec(text)) {
    clean += text.slice(at, found.index) + removed;
    endOfKey.lastIndex = privateKey.lastIndex;
    at = endOfKey.exec(text) === null ? text.length : endOfKey.lastIndex;
    privateKey.lastIndex = at;
  }
  return clean + text.slice(at);
}

const namedForeign = /\b(bearer|api[-_ ]?key|token|authorization)(["'\s:=]+)[^\s"',;]+/gi;
const foreignKeys = /\b(?:sk|pk|key|xai|gsk|nx|hf|AIza)[-_][\w*.-]{6}[\w*.-]*/g;
const opaque = /[A-Za-z0-9+/_-]{40}[A-Za-z0-9+/_-]*={0,2}/g;

/**
 * For a text that somebody else wrote after having seen our credentials, such as a provider's error: blanks also what
 * merely stands where a credential would, and every long run of characters that reads like one.
 */
export function redactForeignText(text: string): string {
  return redactText(text).replace(namedForeign, `$1$2${removed}`).replace(foreignKeys, removed).replace(opaque, removed);
}

const maxDepth = 6;
const maxItems = 50;
const maxTextChars = 2000;
/** Of all texts and names together, about. */
const maxChars = 64_000;
/** Of an error no more is looked at. */
const maxErrorChars = 16_000;
/** Longer than any credential that can only be told by what comes after it. */
const marginChars = 1024;

/** Names of fields that hold credentials, or what people and models wrote. */
const secretName =
  /(authorization|cookies?|headers|password|passwd|passphrase|pwd|secret|credentials?|(api|private|access|secret|signing|encryption|account|subscription)[-_]?key|token)$/i;
const contentName = /^(prompt|prompts|instructions|messages|content|input|output|arguments|body)$/i;

/**
 * A copy of the fields that is safe to write down: credentials, the secrets that are known and content are replaced, by their names and inside texts;
 * errors become data; depth, lists, texts and the whole are bounded.
 */
export function redactFields(fields: object, secrets: SecretValues = noSecrets): Record<string, unknown> {
  return redactObject(fields, 0, { chars: maxChars, secrets });
}

/** Shorter names hold no credential. */
const maxPlainName = 10;

/** What may still be written. */
interface Room {
  chars: number;
  readonly secrets: SecretValues;
}

function redactObject(value: object, depth: number, room: Room): Record<string, unknown> {
  const copy = new Map<string, unknown>();
  for (const [name, item] of Object.entries(value)) {
    if (room.chars <= 0) {
      copy.set('…', '[more]');
      break;
    }
    room.chars -= name.length + 4;
    // A name may be anything, too, where what people sent became one.
    const hides = secretName.test(name) || contentName.test(name);
    copy.set(name.length > maxPlainName ? room.secrets.inText(redactText(name)) : name, hides ? removed : redactValue(item, depth, room));
  }
  return Object.fromEntries(copy);
}

function redactValue(value: unknown, depth: number, room: Room): unknown {
  room.chars -= 2;
  if (typeof value === 'string') return boundedText(value, room);
  if (typeof value === 'bigint') return String(value);
  if (value === null || typeof value !== 'object') return value;
  if (depth >= maxDepth) return '[deeper]';
  if (value instanceof Error) return describeError(value, depth, room);
  if (value instanceof Date) return value;
  if (value instanceof URL) return boundedText(value.href, room);
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) return redactList(value, depth + 1, room);
  return redactObject(value, depth + 1, room);
}

function redactList(items: readonly unknown[], depth: number, room: Room): unknown[] {
  const copy: unknown[] = [];
  for (const item of items.slice(0, maxItems)) {
    if (room.chars <= 0) return [...copy, '[more]'];
    copy.push(redactValue(item, depth, room));
  }
  return copy;
}

/** `details` of an error may hold what a tool was given; they reach the client, not the log. */
function describeError(error: Error, depth: number, room: Room): Record<string, unknown> {
  const code = error instanceof NexusError ? error.code : 'code' in error ? error.code : undefined;
  return {
    type: boundedText(error.name, room),
    ...(typeof code === 'string' ? { code: boundedText(code, room) } : {}),
    message: boundedText(room.secrets.inErrors(error.message.slice(0, maxErrorChars)), room),
    ...(error.stack === undefined ? {} : { stack: boundedText(room.secrets.inErrors(error.stack.slice(0, maxErrorChars)), room) }),
    ...(error.cause === undefined ? {} : { cause: redactValue(error.cause, depth + 1, room) }),
  };
}

/** Cut only after it was redacted: what is left of a credential is not always told by its shape. */
function boundedText(text: string, room: Room): string {
  const limit = Math.max(0, Math.min(maxTextChars, room.chars));
  const seen = text.slice(0, limit + marginChars);
  const clean = redactText(room.secrets.inText(seen));
  const whole = seen.length === text.length;
  const shown = clean.slice(0, whole ? limit : Math.max(0, Math.min(limit, clean.length - marginChars)));
  room.chars -= shown.length;
  return whole && shown.length === clean.length ? clean : `${shown}… (${text.length} characters)`;
}
