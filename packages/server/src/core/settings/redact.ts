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

/** A copy that may be shown: secrets and the passwords in addresses are replaced. */
export function redactSettings(config: unknown, settings: readonly Setting[]): unknown {
  const isSecret = secretPaths(settings);
  const redact = (value: unknown, path: string): unknown => {
    if (Array.isArray(value)) return value.map((item) => redact(item, path));
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redact(item, path === '' ? key : `${path}.${key}`)]));
    }
    if (typeof value !== 'string') return value;
    return isSecret(path) ? '[redacted]' : maskUrlPasswords(value);
  };
  return redact(config, '');
}
