/**
 * The one form in which hosts are compared: small letters, punycode, addresses as a URL writes them, no brackets and no final dot.
 * Null for what is no host by itself: with a port, a path, credentials, or nothing at all.
 */
function hostName(text: string): string | null {
  const bare = text.replace(/^\[(.*)\]$/s, '$1');
  const isV6 = bare.includes(':');
  // A URL drops what a host cannot hold, such as a tab, takes a backslash for a slash, and takes a star as it is.
  if (bare === '' || /[\s\\/?#@*]/.test(bare)) return null;
  const url = URL.parse(`http://${isV6 ? `[${bare}]` : bare}/`);
  if (url === null || url.port !== '') return null;
  const name = url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.+$/, '');
  // A label of nothing names nothing, whoever may look it up.
  return name === '' || name.includes('..') || name.startsWith('.') ? null : withoutMapping(name);
}

/** An IPv4 address is the same one when it is written as IPv6. */
function withoutMapping(name: string): string {
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(name) ?? [];
  if (high === undefined || low === undefined) return name;
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return `${a >> 8}.${a & 255}.${b >> 8}.${b & 255}`;
}

export interface HostAndPort {
  readonly name: string;
  readonly port?: number;
}

/** A host with or without a port, in its one form; null when it is neither. */
export function hostAndPort(text: string): HostAndPort | null {
  const plain = hostName(text);
  if (plain !== null) return { name: plain };
  const [, host = '', port = ''] = /^(\[[^\]]*\]|[^:]*):(\d{1,5})$/.exec(text) ?? [];
  const name = hostName(host);
  return name === null || Number(port) > 65_535 ? null : { name, port: Number(port) };
}

/** `example.com:443`, `[::1]:443`, or the name alone where no port is known. */
export function authorityOf({ name, port }: HostAndPort): string {
  if (port === undefined) return name;
  return name.includes(':') ? `[${name}]:${port}` : `${name}:${port}`;
}

/**
 * A pattern in the form of what it is compared with; null when no host could ever match it. Only whole labels can be written as
 * punycode, so that a wildcard within one of other letters matches nothing.
 */
export function hostPattern(pattern: string): string | null {
  const whole = pattern.includes('*') ? null : hostAndPort(pattern);
  if (whole !== null) return authorityOf(whole);
  if (!pattern.includes('*') || /[\s\\/?#@%]/.test(pattern)) return null;
  const labels = pattern.split('.').map((label) => (label.includes('*') || label === '' ? label.toLowerCase() : labelOf(label)));
  const name = labels.some((label) => label === null) ? null : labels.join('.').replace(/\.+$/, '');
  return name === null || name === '' || !/^[\x21-\x7e]+$/.test(name) ? null : name;
}

function labelOf(label: string): string | null {
  // Numbers, ports and pieces of addresses stay as they are: alone, a URL would take them for an address.
  return /^[\x21-\x7e]+$/.test(label) ? label.toLowerCase() : hostName(label);
}
