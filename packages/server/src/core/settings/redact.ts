import { maskUrlPasswords } from '../redact.ts';
import type { Setting } from './setting.ts';

/** True for places whose value must not be shown: a secret, what is below one, and what holds one. */
export function secretPaths(settings: readonly Setting[]): (path: string) => boolean {
  const plain = (path: string) => path.replace(/\[\d*\]/g, '');
  const secrets = settings.filter(({ secret }) => secret === true).map(({ path }) => plain(path));
  return (path) => {
    const place = plain(path);
    return place !== '' && secrets.some((secret) => place === secret || place.startsWith(`${secret}.`) || secret.startsWith(`${place}.`));
  };
}

/**
 * An address whose credentials, whatever characters they have, and whose parameters are not shown; any other text without the
 * passwords of addresses in it. A setting that is an address is nothing else, so more can be told than from a text around it.
 */
function maskAddress(value: string): string {
  const [, scheme, user = '', rest] = /^([a-z][a-z0-9+.-]*:\/\/)(.*@)?(.*)$/is.exec(value) ?? [];
  if (scheme === undefined || rest === undefined) return maskUrlPasswords(value);
  const colon = user.indexOf(':');
  const name = colon === -1 ? user : `${user.slice(0, colon)}:[redacted]@`;
  return `${scheme}${name}${rest.replace(/([?&][^=&#]*(?:password|secret|token|key)[^=&#]*=)[^&#]*/gi, '$1[redacted]')}`;
}

/** A copy that may be shown: secrets and the passwords in addresses are replaced. */
export function redactSettings(config: unknown, settings: readonly Setting[]): unknown {
  const isSecret = secretPaths(settings);
  const redact = (value: unknown, path: string): unknown => {
    if (Array.isArray(value)) return value.map((item) => redact(item, path));
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redact(item, path === '' ? key : `${path}.${key}`)]));
    }
    if (value === undefined || value === null) return value;
    if (isSecret(path)) return '[redacted]';
    return typeof value === 'string' ? maskAddress(value) : value;
  };
  return redact(config, '');
}
