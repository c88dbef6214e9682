import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startAllInOne } from '#apps';
import { runCli } from './cli.testkit.ts';

const canary = 'C4narySecret9x';
const c = canary;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nexus-secrets-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Nothing listens there. */
const place = '127.0.0.1:1';

const forms: Readonly<Record<string, (scheme: string) => string>> = {
  'a password': (s) => `${s}://user:${c}@${place}/x`,
  'a password alone': (s) => `${s}://:${c}@${place}/x`,
  'a password in escapes': (s) => `${s}://user:%43${c.slice(1)}@${place}/x`,
  'a password in the query': (s) => `${s}://user@${place}/x?password=${c}`,
  'another password in the query': (s) => `${s}://user@${place}/x?sslmode=require&sslpassword=${c}`,
  'options in the query': (s) => `${s}://user@${place}/x?options=-c%20a.b%3D${c}`,
  'a key in the query': (s) => `${s}://${place}/x?sig=${c}`,
  'a fragment': (s) => `${s}://${place}/x#${c}`,
  'no scheme': () => `user:${c}@${place}/x`,
  'a blank': (s) => `${s}://user:${c} more@${place}/x`,
  'a blank after the password': (s) => `${s}://user:${c} @${place}/x`,
  'letters of another script': (s) => `${s}://user:пароль${c}@${place}/x`,
  'a port that is no number': (s) => `${s}://user:${c}@127.0.0.1:port/x`,
  'a port that is too large': (s) => `${s}://user:${c}@127.0.0.1:99999/x`,
  'the password for the port': (s) => `${s}://127.0.0.1:${c}/x`,
  'two @': (s) => `${s}://user:${c}@more@${place}/x`,
  'two @, the other way': (s) => `${s}://user:more@${c}@${place}/x`,
  'a colon in the password': (s) => `${s}://user:a:${c}@${place}/x`,
  'a slash in the password': (s) => `${s}://user:a/${c}@${place}/x`,
  'a slash behind what may be a port': (s) => `${s}://user:12/${c}@${place}/x`,
  'a # in the password': (s) => `${s}://user:a#${c}@${place}/x`,
  'a # behind what may be a port': (s) => `${s}://user:12#${c}@${place}/x`,
  'a ? in the password': (s) => `${s}://user:a?${c}@${place}/x`,
  'a ? behind what may be a port': (s) => `${s}://user:12?x=${c}@${place}/x`,
  'a bracket in the password': (s) => `${s}://user:[${c}@${place}/x`,
  'a % that escapes nothing': (s) => `${s}://user:%zz${c}@${place}/x`,
  'words of a connection string': () => `host=127.0.0.1 port=1 user=u password=${c}`,
  'one slash': (s) => `${s}:/user:${c}@${place}/x`,
  'another scheme': () => `ftp://user:${c}@${place}/x`,
  'line ends': (s) => `${s}://user:${c}\n@${place}/x`,
};
/** An address of these is another one than was meant: of a host that nobody named. */
const behindHost = new Set(['a slash behind what may be a port', 'a # behind what may be a port', 'a ? behind what may be a port']);

const settings: Readonly<Record<string, string>> = {
  NEXUS_DATABASE_URL: 'postgres',
  NEXUS_REDIS_URL: 'redis',
  HTTPS_PROXY: 'http',
  HTTP_PROXY: 'http',
  OPENAI_BASE_URL: 'http',
  ANTHROPIC_BASE_URL: 'https',
  NEXUS_URL: 'http',
  OTEL_EXPORTER_OTLP_ENDPOINT: 'http',
  NEXUS_S3_ENDPOINT: 'http',
};

/** Its end is enough to know the rest by. */
const shown = (text: string) => text.toLowerCase().includes(c.slice(2, -1).toLowerCase());

async function outputOf(argv: readonly string[], options: Parameters<typeof runCli>[1] = {}): Promise<string> {
  const { out, err } = await runCli(argv, options);
  return out + err;
}

describe.each(Object.entries(settings))('%s', (name, scheme) => {
  it.each(Object.entries(forms))('is printed nowhere with %s [verifies hostile.leak.settings]', async (_what, form) => {
    const env = {
      NEXUS_DATA_DIR: folder,
      [name]: form(scheme),
      ...(name.endsWith('PROXY') ? { OPENAI_API_KEY: 'sk-none', OPENAI_BASE_URL: 'http://h.example/v1' } : {}),
    };
    for (const argv of [
      ['config', 'print'],
      ['config', 'print', '--json'],
    ]) {
      const printed = await outputOf(argv, { env });
      expect(shown(printed), printed).toBe(false);
      expect(printed).not.toBe('');
    }
    const { out, err, code } = await runCli(['config', 'print'], { env });
    // One that is refused: whoever starts a server hears the same, and what to do.
    if (code !== 0) expect(out + err).toMatch(/expected|is no address|names a proxy/);
    if (behindHost.has(_what)) expect(code, 'half of the password would be taken for a path').not.toBe(0);
  });
});

it.each(['--database-url', '--redis-url', '--url', '--databse-url', '--log-level', '--port'])(
  'prints nothing secret of what is given with %s [verifies hostile.leak.settings]',
  async (flag) => {
    for (const form of Object.values(forms)) {
      for (const words of [[flag, form('postgres')], [`${flag}=${form('postgres')}`]]) {
        // A fault of its own keeps the server from starting.
        const printed = await outputOf(['serve', ...words], { env: { NEXUS_PORT: 'none', NEXUS_DATA_DIR: folder } });
        expect(shown(printed), printed).toBe(false);
        expect(shown(await outputOf(['serve', '--json', ...words], { env: { NEXUS_PORT: 'none' } })), flag).toBe(false);
      }
    }
    expect(shown(await outputOf([`postgres://u:${c}@h/x`]))).toBe(false);
    expect(shown(await outputOf(['runs', `postgres://u:${c}@h/x`]))).toBe(false);
  },
);

const start = 'providers:\n  openai:\n';
it.each([
  ['a list for a text', `${start}    apiKey: [${c}]`],
  ['a mapping for a text', `${start}    apiKey: { ${c}: 1 }`],
  ['a text for a mapping', `providers: ${c}1`],
  ['a text for a group', `${start.trim()} ${c}`],
  ['no blank behind the colon', `${start}    apiKey:${c}`],
  ['a value as a name', `${start}    ${c}: x`],
  ['two values on a line', `${start}    apiKey: ${c}: x`],
  ['an alias', `${start}    apiKey: *${c}`],
  ['a directive', `%${c} x\n---\na: 1`],
  ['an @', `${start}    apiKey: @${c}`],
  ['a quotation mark that is not closed', `${start}    apiKey: "${c}`],
  ['a bracket that is not closed', `${start}    apiKey: [${c}`],
  ['a backslash in quotes', `${start}    apiKey: "\\q${c}"`],
  ['text after a quotation mark', `${start}    apiKey: "a" ${c}`],
  ['a wrong indent', `${start}    apiKey: a\n   ${c}: x`],
  ['a tab', `${start}\t${c}: x`],
  ['the same key twice', `${start}    apiKey: ${c}\n    apiKey: ${c}`],
  ['a document of text', c],
  ['two documents', `a: 1\n---\n${c}`],
  ['a header over two lines', `${start}    headers: { x-key: "${c}\\nmore" }`],
  ['a header that is a list', `${start}    headers: [ "x-key: ${c}" ]`],
  ['a member of a body', `${start}    extraBody: { stream: ${c} }`],
  ['a number', `${start}    apiKey: 4012888888881881\n    headers: ${c}`],
  ['a key secret that is short', `auth: { keySecret: ${c} }`],
  ['headers of traces', `otlp: { headers: [ ${c} ] }`],
  ['a secret of S3', `tools: { files: { s3: { secretAccessKey: { a: ${c} } } } }`],
  ['a secret under another name', `otlp: { headers: { authorization: ${c} } }\nport: ${c}`],
])('says of a file with %s where it is wrong, and nothing of what is secret [verifies hostile.leak.settings]', async (_what, text) => {
  for (const argv of [['config', 'print'], ['doctor']]) {
    const { out, err, code } = await runCli(argv, { env: { NEXUS_DATA_DIR: folder }, files: { 'nexus.config.yaml': text } });
    expect(code).not.toBe(0);
    expect(shown(out + err), out + err).toBe(false);
    expect(out + err).toMatch(/nexus\.config\.yaml/);
  }
});

it('says nothing of a variable that a file names and whose name says that it is secret [verifies hostile.leak.settings]', async () => {
  for (const key of ['port', 'bus', 'log.level']) {
    const text = key.split('.').reduceRight((inner, name) => `{ ${name}: ${inner} }`, ['"$', '{env:DB_PASSWORD}"'].join(''));
    const printed = await outputOf(['config', 'print'], { env: { DB_PASSWORD: c }, files: { 'nexus.config.yaml': text } });
    expect(printed).toContain(key);
    expect(shown(printed), printed).toBe(false);
  }
});

it.each(['a password', 'a password alone', 'a password in escapes', 'a password in the query', 'a key in the query'])(
  'says where nothing answers, without %s [verifies hostile.leak.settings]',
  async (what) => {
    const form = forms[what] ?? String;
    const called = await outputOf(['runs', 'list'], { env: { NEXUS_URL: form('http') } });
    expect(called).toContain('127.0.0.1:1');
    expect(shown(called), called).toBe(false);
    for (const [name, scheme] of Object.entries({
      NEXUS_DATABASE_URL: 'postgres',
      NEXUS_REDIS_URL: 'redis',
      NEXUS_URL: 'http',
      HTTP_PROXY: 'http',
    })) {
      const provider = name === 'HTTP_PROXY' ? { OPENAI_API_KEY: 'none', OPENAI_BASE_URL: 'http://h.example/v1' } : {};
      const found = await outputOf(['doctor'], {
        env: { NEXUS_DATA_DIR: folder, [name]: form(scheme), ...provider },
      });
      expect(found).toContain('127.0.0.1:1');
      expect(shown(found), found).toBe(false);
    }
    const started = await outputOf(['serve'], {
      apps: { startAllInOne },
      env: { NEXUS_PORT: '0', NEXUS_DATA_DIR: folder, NEXUS_DATABASE_URL: form('postgres'), NEXUS_LOG_LEVEL: 'silent' },
    });
    expect(started).toContain('127.0.0.1:1');
    expect(shown(started), started).toBe(false);
  },
  60_000,
);

it('shows of addresses what is no secret', async () => {
  const env = {
    NEXUS_DATABASE_URL: `postgres://ann:${c}@db.example:6543/shop?sslmode=require`,
    OPENAI_BASE_URL: 'https://g.example/v1?api-version=2024-10-21',
  };
  const { out } = await runCli(['config', 'print'], { env });
  expect(out).toContain('postgres://ann:[redacted]@db.example:6543/shop?sslmode=require');
  expect(out).toContain('https://g.example/v1?api-version=2024-10-21');
});
