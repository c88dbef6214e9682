import { redactText } from '../redact.ts';
import { maskAddress } from './address.ts';
import type { Setting } from './setting.ts';

const plain = (path: string) => path.replace(/\[\d*\]/g, '');

/** True for places whose value must not be shown: a secret or an address, what is below one, and what holds one. */
export function secretPaths(settings: readonly Setting[]): (path: string) => boolean {
  const hidden = settings.filter(({ secret, address }) => secret === true || address === true).map(({ path }) => plain(path));
  return (path) => {
    const place = plain(path);
    return place !== '' && hidden.some((each) => place === each || place.startsWith(`${each}.`) || each.startsWith(`${place}.`));
  };
}

/** A copy that may be shown: secrets are replaced, addresses are shown without their credentials, and nothing else holds any. */
export function redactSettings(config: unknown, settings: readonly Setting[]): unknown {
  const secrets = settings.filter(({ secret }) => secret === true).map(({ path }) => plain(path));
  const addresses = new Set(settings.filter(({ address }) => address === true).map(({ path }) => plain(path)));
  const isSecret = (path: string) => secrets.some((secret) => path === secret || path.startsWith(`${secret}.`));
  const redact = (value: unknown, path: string): unknown => {
    if (Array.isArray(value)) return value.map((item) => redact(item, path));
    if (value === undefined || value === null) return value;
    if (isSecret(path)) return typeof value === 'object' && Object.keys(value).length === 0 ? value : '[redacted]';
    if (typeof value === 'object') {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [redactText(key), redact(item, path === '' ? key : `${path}.${key}`)]),
      );
    }
    if (typeof value !== 'string') return value;
    return addresses.has(path) ? maskAddress(value) : redactText(value);
  };
  return redact(config, '');
}
