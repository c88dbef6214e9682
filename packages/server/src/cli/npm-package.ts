import { createHash, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { UsageError } from './exit-codes.ts';
import type { NpmSettings } from './npm-settings.ts';

export interface NpmPackage {
  readonly name: string;
  readonly version: string;
  /** What its registry says that the package is, and what was found to be so. */
  readonly integrity: string;
  readonly url: string;
  readonly bytes: Uint8Array;
}

export interface NpmOptions {
  readonly settings: NpmSettings;
  /** Most bytes of a package. */
  readonly maxBytes: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const prefix = 'npm:';
const packageName = /^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/;
const maxNameChars = 214;
const versionOrTag = /^[0-9A-Za-z][0-9A-Za-z.+-]{0,127}$/;
const maxAboutBytes = 32 * 1024 * 1024;
const maxRedirects = 5;
const defaultTimeoutMs = 120_000;
const maxNamed = 5;
/** Without it a registry sends every readme as well. */
const briefly = 'application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8';

export function isNpmPackage(text: string): boolean {
  return text.startsWith(prefix);
}

/** `npm:name`, `npm:name@1.2.3`, `npm:@scope/name@next`. Throws a usage error. */
function parseSpec(text: string): { readonly name: string; readonly wanted: string } {
  const spec = text.slice(prefix.length);
  const at = spec.indexOf('@', 1);
  const [name, wanted] = at === -1 ? [spec, 'latest'] : [spec.slice(0, at), spec.slice(at + 1)];
  if (!packageName.test(name) || name.length > maxNameChars)
    throw new UsageError(`${JSON.stringify(name)} is no name of an npm package; give npm:name or npm:@scope/name`);
  if (!versionOrTag.test(wanted))
    throw new UsageError(`${JSON.stringify(wanted)} is no version; give a whole one such as npm:${name}@1.0.0, or a tag such as next`);
  return { name, wanted };
}

const VersionInfo = z.object({
  name: z.string(),
  version: z.string(),
  dist: z.object({ tarball: z.string().max(4_000), integrity: z.string().max(4_000).optional() }),
});
const About = z.object({
  name: z.string(),
  'dist-tags': z.record(z.string(), z.string()).default({}),
  versions: z.record(z.string(), z.unknown()),
});

/**
 * Fetches a package as `npm pack` would, runs nothing of it, and gives it only where it is what its registry says. Throws an error that
 * says what is wrong with the registry or its answer.
 */
export async function fetchNpmPackage(text: string, options: NpmOptions): Promise<NpmPackage> {
  const { name, wanted } = parseSpec(text);
  const { settings, maxBytes, timeoutMs = defaultTimeoutMs } = options;
  const signals = [AbortSignal.timeout(timeoutMs), ...(options.signal === undefined ? [] : [options.signal])];
  const registry = URL.parse(settings.registryOf(name));
  if (registry === null)
    throw new UsageError(`the registry ${JSON.stringify(settings.registryOf(name))} is no address; see npm config get registry`);
  const get = createGetter(registry, settings, AbortSignal.any(signals), timeoutMs);
  const about = readAbout(
    await get(new URL(name.replace('/', '%2f'), registry), { accept: briefly, maxBytes: maxAboutBytes, what: name }),
    name,
  );
  const found = chooseVersion(about, name, wanted);
  const url = URL.parse(found.dist.tarball);
  if (url === null) throw lie(`gives ${JSON.stringify(found.dist.tarball.slice(0, 200))} as the address of ${name}, which is none`);
  const integrity = (found.dist.integrity ?? '').split(/\s+/).filter((each) => each.startsWith('sha512-'));
  const [expected] = integrity;
  if (expected === undefined)
    throw lie(
      `gives no SHA-512 of ${name} ${found.version}, so that nobody can say whether what it sends is the package; publish it again`,
    );
  const bytes = await get(url, { accept: '*/*', maxBytes, what: `${name} ${found.version}` });
  const hash = createHash('sha512').update(bytes).digest();
  if (!integrity.some((each) => isHash(each, hash)))
    throw lie(`sent ${name} ${found.version} with the integrity sha512-${hash.toString('base64')}, and says that it is ${expected}`);
  await requireSame(bytes, { name, version: found.version, maxBytes });
  return { name, version: found.version, integrity: expected, url: url.href, bytes };
}

function isHash(integrity: string, hash: Buffer): boolean {
  const expected = Buffer.from(integrity.slice('sha512-'.length).split('?')[0] ?? '', 'base64');
  return expected.length === hash.length && timingSafeEqual(expected, hash);
}

type VersionInfo = z.infer<typeof VersionInfo>;

function readAbout(bytes: Uint8Array, name: string): z.infer<typeof About> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw lie(`answered with no JSON when it was asked for ${name}`);
  }
  const read = About.safeParse(value);
  if (!read.success) throw lie(`answered with something that describes no package when it was asked for ${name}`);
  if (read.data.name !== name)
    throw lie(`was asked for ${name}, and answered with ${JSON.stringify(read.data.name.slice(0, maxNameChars))}`);
  return read.data;
}

function chooseVersion({ versions, 'dist-tags': tags }: z.infer<typeof About>, name: string, wanted: string): VersionInfo {
  const version = Object.hasOwn(versions, wanted) ? wanted : Object.hasOwn(tags, wanted) ? (tags[wanted] ?? '') : undefined;
  if (version === undefined) {
    const known = [...Object.keys(tags), ...Object.keys(versions).slice(-maxNamed)];
    throw new UsageError(`there is no ${name}@${wanted}; there is ${known.slice(0, 2 * maxNamed).join(', ')}`);
  }
  const read = VersionInfo.safeParse(Object.hasOwn(versions, version) ? versions[version] : undefined);
  if (!read.success) throw lie(`says that ${wanted} of ${name} is ${JSON.stringify(version.slice(0, 128))}, and does not describe that`);
  if (read.data.name !== name || read.data.version !== version)
    throw lie(`describes ${JSON.stringify(`${read.data.name} ${read.data.version}`.slice(0, 300))} where ${name} ${version} should be`);
  return read.data;
}

/** What is in the package says the same name and version, as npm publishes nothing else. */
async function requireSame(
  bytes: Uint8Array,
  { name, version, maxBytes }: { readonly name: string; readonly version: string; readonly maxBytes: number },
): Promise<void> {
  const { unpackTarball } = await import('#tools');
  const text = unpackTarball(bytes, { maxBytes }).get('package.json');
  let value: unknown = null;
  try {
    value = text === undefined ? null : JSON.parse(new TextDecoder().decode(text));
  } catch {
    // As if there were none.
  }
  const read = z.object({ name: z.string(), version: z.string() }).safeParse(value);
  if (!read.success) throw lie(`sent ${name} ${version} without a package.json that can be read`);
  if (read.data.name !== name || read.data.version !== version)
    throw lie(`sent ${JSON.stringify(`${read.data.name} ${read.data.version}`.slice(0, 300))} for ${name} ${version}`);
}

interface Wanted {
  readonly accept: string;
  readonly maxBytes: number;
  readonly what: string;
}

/** Asks for one thing, going where it is sent a few times, over TLS only; without it only on this machine, where the registry is here too. */
function createGetter(registry: URL, settings: NpmSettings, signal: AbortSignal, timeoutMs: number) {
  function requireSafe(url: URL, from: string): void {
    if (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url) && isLoopback(registry))) return;
    throw new UsageError(
      `${from} is ${url.protocol}//${url.host}, and packages are fetched over https only, but for registries of this machine`,
    );
  }

  return async function get(first: URL, { accept, maxBytes, what }: Wanted): Promise<Uint8Array> {
    let url = first;
    requireSafe(registry, 'the registry');
    for (let turns = 0; ; turns++) {
      requireSafe(url, turns === 0 ? `the address of ${what}` : `where ${what} is said to be`);
      const authorization = settings.authorizationFor(url);
      try {
        const response = await fetch(url.href, {
          headers: { accept, ...(authorization === undefined ? {} : { authorization }) },
          redirect: 'manual',
          signal,
        });
        const location = response.headers.get('location');
        if (response.status >= 300 && response.status < 400 && location !== null) {
          await response.body?.cancel();
          if (turns >= maxRedirects) throw lie(`sends whoever asks for ${what} elsewhere more than ${maxRedirects} times`);
          const next = URL.parse(location, url.href);
          if (next === null) throw lie(`sends whoever asks for ${what} to what is no address`);
          url = next;
          continue;
        }
        if (!response.ok) {
          await response.body?.cancel();
          throw refused(response.status, what, url);
        }
        return await readBounded(response, maxBytes, what);
      } catch (error) {
        if (error instanceof UsageError) throw error;
        if (signal.aborted) throw new UsageError(`the registry ${url.host} did not give ${what} within ${timeoutMs} ms`);
        throw new UsageError(`the registry ${url.host} cannot be reached: ${causeOf(error)}`);
      }
    }
  };
}

async function readBounded(response: Response, maxBytes: number, what: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    size += piece.length;
    if (size > maxBytes) throw lie(`sends more than ${maxBytes} bytes for ${what}, which is all that is taken`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function refused(status: number, what: string, { host }: URL): UsageError {
  if (status === 404) return new UsageError(`the registry ${host} has no ${what}`);
  if (status === 401 || status === 403)
    return new UsageError(`the registry ${host} does not let us have ${what} (HTTP ${status}); is there a token for it in .npmrc?`);
  return new UsageError(`the registry ${host} answered with HTTP ${status} when it was asked for ${what}`);
}

function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
}

function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}

function lie(what: string): UsageError {
  return new UsageError(`the registry ${what}`);
}
