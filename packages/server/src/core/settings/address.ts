/** What may be shown of an address that may hold credentials, and what of it may not. */

interface AddressParts {
  readonly scheme: string;
  /** Before the last `@`, which is the one that counts where a password has some in it. */
  readonly user: string | null;
  readonly host: string;
  readonly path: string;
  readonly query: string;
  readonly fragment: string;
}

function partsOf(value: string): AddressParts | null {
  const found = /^([a-z][a-z0-9+.-]*):\/\/(?:(.*)@)?([^/?#\s@]*)(\/[^?#]*)?(?:\?([^#]*))?(?:#(.*))?$/is.exec(value);
  if (found === null) return null;
  const [, scheme = '', user, host = '', path = '', query = '', fragment = ''] = found;
  if (!/^([\p{L}\p{N}._-]*|\[[\da-f:.]*\])(:\d{0,5})?$/iu.test(host)) return null;
  return { scheme: scheme.toLowerCase(), user: user ?? null, host, path, query, fragment };
}

/** Parameters that say how to connect. What others hold nobody can tell. */
const plainParameters = new Set([
  'api-version',
  'application_name',
  'connect_timeout',
  'db',
  'family',
  'protocol',
  'region',
  'sslmode',
  'ssl',
  'target_session_attrs',
  'uselibpqcompat',
  'version',
]);

/** A part of a path that reads like a token: some addresses are secrets as a whole. */
const opaqueSegment = /^(?=.*\d)(?=.*[A-Za-z])[\w.~+=-]{20,}$/;

const hidden = '[redacted]';

/** An address without its credentials, whatever characters they have. What is none is not shown at all. */
export function maskAddress(value: string): string {
  if (value === 'sqlite::memory:') return value;
  const parts = partsOf(value);
  if (parts === null) return hidden;
  const { scheme, user, host, path, query, fragment } = parts;
  const parameters = query.split('&').map((pair) => {
    const [name = ''] = pair.split('=');
    return plainParameters.has(name.toLowerCase())
      ? pair
      : `${/^[\w.-]{1,40}$/.test(name) && pair.includes('=') ? `${name}=` : ''}${hidden}`;
  });
  return [
    `${scheme}://`,
    user === null ? '' : `${shownUser(scheme, user)}@`,
    host,
    path
      .split('/')
      .map((segment) => (opaqueSegment.test(segment) || segment.includes(':') ? hidden : segment))
      .join('/'),
    query === '' ? '' : `?${parameters.join('&')}`,
    fragment === '' ? '' : `#${hidden}`,
  ].join('');
}

/** A name without a password is a token, but for databases, which always have names. */
function shownUser(scheme: string, user: string): string {
  const [name, password] = userOf(user);
  if (password !== '') return `${name}:${hidden}`;
  return isDatabase(scheme) ? name : hidden;
}

function isDatabase(scheme: string): boolean {
  return scheme === 'postgres' || scheme === 'postgresql';
}

function userOf(user: string): readonly [name: string, password: string] {
  const colon = user.indexOf(':');
  return colon === -1 ? [user, ''] : [user.slice(0, colon), user.slice(colon + 1)];
}

/** The credentials of an address as it has them and as they are sent. */
export function secretsOfAddress(value: string): string[] {
  const parts = partsOf(value);
  if (parts === null) return [value];
  const { scheme, user, path, query } = parts;
  const secrets: string[] = [];
  if (user !== null) {
    const [name, password] = userOf(user);
    if (password !== '') secrets.push(password, user, Buffer.from(`${decoded(name)}:${decoded(password)}`).toString('base64'));
    else if (!isDatabase(scheme)) secrets.push(name);
  }
  for (const pair of query.split('&')) {
    const at = pair.indexOf('=');
    if (at > 0 && mayBeSecret(pair.slice(0, at), decoded(pair.slice(at + 1)))) secrets.push(pair.slice(at + 1));
  }
  secrets.push(...path.split('/').filter((segment) => opaqueSegment.test(segment)));
  return secrets.flatMap((secret) => [secret, decoded(secret)]);
}

/** What stands under a name that says so, or reads like a token. */
export function mayBeSecret(name: string, value: string): boolean {
  if (plainParameters.has(name.toLowerCase())) return false;
  return secretName.test(name) || opaqueSegment.test(value);
}

const secretName = /auth|code|cookie|credential|key|pass|pwd|secret|session|sig|token/i;

/** What a part of an address stands for. A stray percent sign stands for itself. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** An address whose credentials may end behind what counts as its host: half a password would be taken for a path, and be shown as one. */
export function isAmbiguousAddress(value: string): boolean {
  return value.replace(/^[^/]*\/\/[^/?#]*/, '').includes('@');
}

/** What is wrong with an address that is none, without a part of it; empty where that cannot be told. */
export function faultOfAddress(value: string): string {
  if (/\s/.test(value.trim())) return 'it has blanks in it, which an address writes as %20';
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) return 'it begins with no scheme such as http://';
  const rest = value.replace(/^[^/]*\/\//, '');
  const authority = rest.split(/[/?#]/, 1)[0] ?? '';
  if (rest.slice(authority.length).includes('@'))
    return 'an @ stands behind its host: write the signs of a password as %2F for /, %3F for ?, %23 for # and %40 for @';
  if ((authority.match(/@/g) ?? []).length > 1) return 'it has two @ before its path: write that of a password as %40';
  const port = /:([^:\]]*)$/.exec(authority.replace(/^.*@/, ''))?.[1] ?? '';
  if (!/^\d*$/.test(port)) return 'its port is no number';
  if (Number(port) > 65_535) return 'its port is more than 65535';
  return '';
}
