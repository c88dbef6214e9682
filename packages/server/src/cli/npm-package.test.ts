import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packTarball } from '#tools';
import { fetchNpmPackage } from './npm-package.ts';
import { readNpmSettings } from './npm-settings.ts';

/** A registry of our own: what it answers to a path. */
let answers: Record<string, (request: IncomingMessage, response: ServerResponse) => void>;
let asked: { path: string; authorization: string | undefined }[];
let registry: Server;
let url: string;

beforeEach(async () => {
  answers = {};
  asked = [];
  registry = createServer((request, response) => {
    const path = request.url ?? '';
    asked.push({ path, authorization: request.headers.authorization });
    const answer = answers[path];
    if (answer === undefined) response.writeHead(404).end('{}');
    else answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(registry, 'listening');
  url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}`; // it listens on TCP
});
afterEach(() => {
  registry.closeAllConnections();
  registry.close();
});

const text = (value: unknown) => Uint8Array.from(Buffer.from(JSON.stringify(value)));
const packed = (name = 'words', version = '1.0.0') => packTarball(new Map([['package.json', text({ name, version })]]));
const integrityOf = (bytes: Uint8Array) => `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
const json = (value: unknown) => (_request: IncomingMessage, response: ServerResponse) => void response.end(JSON.stringify(value));
const send = (bytes: Uint8Array) => (_request: IncomingMessage, response: ServerResponse) => void response.end(bytes);
const go = (to: string) => (_request: IncomingMessage, response: ServerResponse) => void response.writeHead(302, { location: to }).end();

interface Published {
  readonly name?: string;
  readonly version?: string;
  readonly bytes?: Uint8Array;
  readonly integrity?: string;
  readonly tarball?: string;
  readonly about?: Record<string, unknown>;
  readonly entry?: Record<string, unknown>;
}

function publish({
  name = 'words',
  version = '1.0.0',
  bytes = packed(),
  integrity = integrityOf(bytes),
  tarball,
  about,
  entry,
}: Published = {}) {
  const dist = { tarball: tarball ?? `${url}/${name}.tgz`, integrity };
  answers[`/${name.replace('/', '%2f')}`] = json({
    ...{ name, 'dist-tags': { latest: version }, versions: { [version]: { name, version, dist, ...entry } } },
    ...about,
  });
  answers[`/${name}.tgz`] = send(bytes);
}

const settingsOf = (env: Record<string, string> = {}, npmrc: Record<string, string> = {}) =>
  readNpmSettings({ env, readFile: async (path) => npmrc[path] ?? null });
async function fetched(spec = 'npm:words', { maxBytes = 100_000, timeoutMs = 5_000, npmrc = {}, from = url } = {}) {
  const settings = await settingsOf({ npm_config_registry: from, HOME: '/user' }, npmrc);
  return fetchNpmPackage(spec, { settings, maxBytes, timeoutMs });
}
const wrong = (...given: Parameters<typeof fetched>) =>
  fetched(...given).then(
    () => 'nothing',
    (error: Error) => error.message,
  );

describe('a package of npm', () => {
  it('is what its registry says, by version, by tag and by scope [verifies plugins.npm]', async () => {
    publish();
    expect(await fetched()).toMatchObject({
      name: 'words',
      version: '1.0.0',
      integrity: integrityOf(packed()),
      bytes: Buffer.from(packed()),
    });
    expect(await fetched('npm:words@1.0.0')).toMatchObject({ version: '1.0.0' });
    expect(await fetched('npm:words@latest')).toMatchObject({ version: '1.0.0' });
    publish({ name: '@me/words', bytes: packed('@me/words') });
    expect(await fetched('npm:@me/words@1.0.0')).toMatchObject({ name: '@me/words' });
    expect(await wrong('npm:words@2.0.0')).toMatch(/there is no words@2\.0\.0; there is latest, 1\.0\.0/);
    expect(await wrong('npm:others')).toMatch(/the registry 127\.0\.0\.1:\d+ has no others/);
  });

  it.each([
    'npm:',
    'npm:../words',
    'npm:Words',
    'npm:a/b',
    'npm:@a',
    'npm:words@',
    'npm:words@^1.0.0',
    'npm:words@1 || 2',
    'npm:words@../x',
    'npm:git+ssh://x',
  ])('is not asked for by such a name: %s', async (spec) => {
    expect(await wrong(spec)).toMatch(/is no (name of an npm package|version)/);
    expect(asked).toEqual([]);
  });

  it('is refused where the registry sends something else than it says [verifies plugins.npm]', async () => {
    publish({ integrity: integrityOf(packed('other')) });
    expect(await wrong()).toMatch(/sent words 1\.0\.0 with the integrity sha512-.*, and says that it is sha512-/);
    publish({ integrity: 'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=' });
    expect(await wrong()).toMatch(/gives no SHA-512 of words 1\.0\.0/);
    publish({ entry: { dist: { tarball: `${url}/words.tgz` } } });
    expect(await wrong()).toMatch(/gives no SHA-512/);
    publish({ integrity: 'sha512-' });
    expect(await wrong()).toMatch(/and says that it is sha512-/);
    publish({ about: { name: 'other' } });
    expect(await wrong()).toMatch(/was asked for words, and answered with "other"/);
    publish({ entry: { name: 'other' } });
    expect(await wrong()).toMatch(/describes "other 1\.0\.0" where words 1\.0\.0 should be/);
    publish({ entry: { version: '0.9.0' } });
    expect(await wrong()).toMatch(/describes "words 0\.9\.0"/);
    publish({ about: { 'dist-tags': { latest: '9.0.0' } } });
    expect(await wrong()).toMatch(/says that latest of words is "9\.0\.0", and does not describe that/);
    publish({ about: { 'dist-tags': { latest: '__proto__' } } });
    expect(await wrong()).toMatch(/does not describe that/);
    publish({ bytes: packed('other') });
    expect(await wrong()).toMatch(/sent "other 1\.0\.0" for words 1\.0\.0/);
    publish({ bytes: packed('words', '0.1.0') });
    expect(await wrong()).toMatch(/sent "words 0\.1\.0" for words 1\.0\.0/);
    publish({ bytes: packTarball(new Map([['x', text(1)]])) });
    expect(await wrong()).toMatch(/without a package\.json that can be read/);
    publish({ bytes: text('no tarball') });
    expect(await wrong()).toMatch(/no gzip file/);
    for (const about of [[], 'text', { versions: 7 }]) {
      answers['/words'] = json(about);
      expect(await wrong()).toMatch(/describes no package/);
    }
    answers['/words'] = send(Buffer.from('<html>'));
    expect(await wrong()).toMatch(/answered with no JSON/);
  });

  it('has an end, in bytes and in time [verifies plugins.npm]', async () => {
    publish();
    const endless = (_request: IncomingMessage, response: ServerResponse) => {
      const timer = setInterval(() => response.write(Buffer.alloc(50_000, 0x20)), 5);
      response.on('close', () => clearInterval(timer));
    };
    answers['/words.tgz'] = endless;
    expect(await wrong()).toMatch(/sends more than 100000 bytes for words 1\.0\.0/);
    answers['/words.tgz'] = (_request, response) => void response.write('x'); // and then nothing
    expect(await wrong('npm:words', { timeoutMs: 300 })).toMatch(/did not give words 1\.0\.0 within 300 ms/);
    answers['/words'] = () => undefined;
    expect(await wrong('npm:words', { timeoutMs: 300 })).toMatch(/did not give words within 300 ms/);
    answers['/words'] = (request) => void request.destroy();
    expect(await wrong()).toMatch(/cannot be reached/);
    answers['/words'] = (_request, response) => void response.writeHead(503).end();
    expect(await wrong()).toMatch(/answered with HTTP 503/);
  });

  it('is followed a few times, and only to where it may be [verifies plugins.npm]', async () => {
    publish({ tarball: `${url}/a` });
    answers['/a'] = go('/b');
    answers['/b'] = go(`${url}/words.tgz`);
    expect(await fetched()).toMatchObject({ version: '1.0.0' });
    answers['/b'] = go('/a');
    expect(await wrong()).toMatch(/elsewhere more than 5 times/);
    answers['/a'] = go('http://10.0.0.1/words.tgz');
    expect(await wrong()).toMatch(/is http:\/\/10\.0\.0\.1, and packages are fetched over https only/);
    answers['/a'] = go('file:///etc/passwd');
    expect(await wrong()).toMatch(/over https only/);
    publish({ tarball: 'http://127.evil.example/x' });
    expect(await wrong()).toMatch(/is http:\/\/127\.evil\.example, and packages are fetched over https only/);
    publish({ tarball: 'ftp://127.0.0.1/x' });
    expect(await wrong()).toMatch(/over https only/);
    publish({ tarball: 'nonsense' });
    expect(await wrong()).toMatch(/which is none/);
    expect(await wrong('npm:words', { from: 'http://registry.example' })).toMatch(
      /the registry is http:\/\/registry\.example, and packages/,
    );
  });

  it('is shown no token but where the user configured it [verifies plugins.npm]', async () => {
    const host = new URL(url).host;
    const elsewhere = createServer((request, response) => {
      asked.push({ path: 'elsewhere', authorization: request.headers.authorization });
      response.end(packed());
    }).listen(0, '127.0.0.1');
    await once(elsewhere, 'listening');
    publish({ tarball: `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/words.tgz` });
    const npmrc = { '/user/.npmrc': `; a comment\n//${host}/:_authToken=first\n//other.example/:_authToken=second\n` };
    expect(await fetched('npm:words', { npmrc })).toMatchObject({ version: '1.0.0' });
    elsewhere.close();
    expect(asked).toEqual([
      { path: '/words', authorization: 'Bearer first' },
      { path: 'elsewhere', authorization: undefined },
    ]);
  });
});

describe('settings of npm', () => {
  it('are those of the user, and not of the folder that the command runs in', async () => {
    const variable = '$' + '{TOKEN}'; // as it stands in the file
    const npmrc = {
      '.npmrc': 'registry=https://evil.example\n',
      '/user/.npmrc': [
        'registry = "https://mine.example"',
        '@me:registry=https://npm.me.example/path',
        `//npm.me.example/path/:_authToken=${variable}`,
        '//mine.example/:_auth=dTpw',
      ].join('\n'),
    };
    const settings = await settingsOf({ HOME: '/user', TOKEN: 'secret' }, npmrc);
    expect(settings.registryOf('words')).toBe('https://mine.example/');
    expect(settings.registryOf('@me/words')).toBe('https://npm.me.example/path/');
    expect(settings.authorizationFor(new URL('https://npm.me.example/path/@me%2fwords'))).toBe('Bearer secret');
    expect(settings.authorizationFor(new URL('https://npm.me.example/other'))).toBeUndefined();
    expect(settings.authorizationFor(new URL('https://mine.example/deep/er'))).toBe('Basic dTpw');
    expect((await settingsOf({ npm_config_registry: 'https://env.example/' }, npmrc)).registryOf('words')).toBe('https://env.example/');
    const nothingSaid = await settingsOf();
    expect(() => nothingSaid.registryOf('words')).toThrow(/no registry is known: .*npm_config_registry=\$\(npm config get registry\)/);
  });
});
