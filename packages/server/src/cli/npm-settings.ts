import { NexusError } from '#core';
import type { CliIo } from './io.ts';

/** Where packages come from, as the user has told npm. */
export interface NpmSettings {
  /** Throws `invalid_request` where nothing says so. */
  registryOf(name: string): string;
  /** What is presented to an address; undefined where the user configured nothing for it. */
  authorizationFor(url: URL): string | undefined;
}

const unknownRegistry =
  'no registry is known: neither npm_config_registry nor your .npmrc names one; try npm_config_registry=$(npm config get registry) nexus plugin install …';

/**
 * Reads what npm reads of the user: `npm_config_registry`, then their `.npmrc`. One of the current folder is left alone: whoever made that
 * folder would say where packages come from, and which variables of the environment go there. A token is presented to the addresses that
 * stand before it and to no other, also where a registry refers to somewhere else.
 */
export async function readNpmSettings({ env, readFile }: Pick<CliIo, 'env' | 'readFile'>): Promise<NpmSettings> {
  const home = env.HOME ?? env.USERPROFILE;
  const own = env.npm_config_userconfig ?? env.NPM_CONFIG_USERCONFIG ?? (home === undefined ? undefined : `${home}/.npmrc`);
  const values = new Map(parseNpmrc((own === undefined ? null : await readFile(own)) ?? '', env));
  const fromEnvironment = env.npm_config_registry ?? env.NPM_CONFIG_REGISTRY;
  return {
    registryOf(name) {
      const scope = name.startsWith('@') ? name.slice(0, name.indexOf('/')) : undefined;
      const scoped = scope === undefined ? undefined : values.get(`${scope}:registry`);
      const found = scoped ?? fromEnvironment ?? values.get('registry');
      if (found === undefined) throw new NexusError('invalid_request', unknownRegistry);
      return found.endsWith('/') ? found : `${found}/`;
    },
    authorizationFor(url) {
      // From the longest address to the host alone, as npm looks.
      for (let path = url.pathname; ; path = path.slice(0, path.lastIndexOf('/', path.length - 2) + 1)) {
        const place = `//${url.host}${path}`;
        for (const each of [place, place.replace(/\/$/, '')]) {
          const [token, basic] = [values.get(`${each}:_authToken`), values.get(`${each}:_auth`)];
          if (token !== undefined) return `Bearer ${token}`;
          if (basic !== undefined) return `Basic ${basic}`;
        }
        if (path === '/' || path === '') return undefined;
      }
    },
  };
}

function* parseNpmrc(text: string, env: CliIo['env']): Generator<readonly [string, string]> {
  for (const line of text.split(/\r?\n/)) {
    const at = line.indexOf('=');
    if (at < 1 || /^\s*[#;]/.test(line)) continue;
    const value = line
      .slice(at + 1)
      .trim()
      .replace(/^(["'])(.*)\1$/, '$2')
      .replace(/\$\{([^}]+)\}/g, (whole, name: string) => env[name] ?? whole);
    yield [line.slice(0, at).trim(), value];
  }
}
