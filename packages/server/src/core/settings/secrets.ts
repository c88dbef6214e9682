import { mayBeSecret, secretsOfAddress } from './address.ts';
import type { Setting } from './setting.ts';

/** Headers that many set and that hide nothing: their values may stand in any text. */
const plainHeader = /^(accept.*|anthropic-beta|anthropic-version|content-type|http-referer|openai-beta|referer|user-agent|x-title)$/i;

/**
 * The values of all secrets of a configuration that was read: keys and passwords, credentials in addresses, headers, and what is added to
 * requests where its name or its form says so.
 */
export function secretsOfSettings(config: unknown, settings: readonly Setting[]): string[] {
  return settings.flatMap((setting) => {
    const values = valuesAt(config, setting.path.split('.'));
    if (setting.address === true) return values.flatMap((value) => (typeof value === 'string' ? secretsOfAddress(value) : []));
    return setting.secret === true ? values.flatMap((value) => secretsIn(value)) : [];
  });
}

function valuesAt(value: unknown, keys: readonly string[]): unknown[] {
  const [key, ...rest] = keys;
  if (value === undefined || value === null) return [];
  if (key === undefined) return [value];
  const inner = (value as Readonly<Record<string, unknown>>)[key.replace('[]', '')]; // what is no object has none of it
  if (key.endsWith('[]')) return Array.isArray(inner) ? inner.flatMap((item) => valuesAt(item, rest)) : [];
  return valuesAt(inner, rest);
}

/** A secret by itself, or a record of headers or of members of a body, at any depth. */
function secretsIn(value: unknown, name?: string): string[] {
  if (typeof value === 'string') return name === undefined ? [value] : secretsOfField(name, value);
  if (typeof value === 'number' || typeof value === 'bigint')
    return name === undefined ? [String(value)] : secretsOfField(name, String(value));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => secretsIn(item, Array.isArray(value) ? (name ?? '') : key));
}

function secretsOfField(name: string, value: string): string[] {
  if (plainHeader.test(name)) return [];
  const [, scheme, rest = ''] = /^(basic|bearer|token|apikey|key|digest)\s+(\S.*)$/i.exec(value) ?? [];
  if (scheme !== undefined) return [value, rest, ...(scheme.toLowerCase() === 'basic' ? passwordsOf(rest) : [])];
  if (/^cookie$/i.test(name)) return [value, ...value.split(/;\s*/).map((pair) => pair.slice(pair.indexOf('=') + 1))];
  return mayBeSecret(name, value) || /^[!-~]{16,}$/.test(value) ? [value] : [];
}

function passwordsOf(credentials: string): string[] {
  const text = Buffer.from(credentials, 'base64').toString('utf8');
  return text.includes(':') ? [text, text.slice(text.indexOf(':') + 1)] : [];
}
