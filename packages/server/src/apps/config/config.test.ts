import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import { resolve } from 'node:path';
import { createNexusClient } from '@nexus-agent/sdk';
import { expect, it, vi } from 'vitest';
import { NexusError, parseConfigFile } from '#core';
import { clientUrl, configSettings, redactConfig, resolveConfig, secretsOfConfig, tokenFolders } from './index.ts';

const file = (text: string) => parseConfigFile('nexus.config.yaml', text);

async function fault(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (error instanceof NexusError && error.code === 'config_invalid') return error.message;
    throw error;
  }
  throw new Error('expected config_invalid');
}

it('needs nothing: the defaults are safe', async () => {
  const config = resolveConfig({ env: {} });
  expect(config).toMatchObject({ host: '127.0.0.1', port: 8080, dataDir: '.nexus', agentsDir: '.nexus/agents', sim: { enabled: 'auto' } });
  expect(config.databaseUrl).toBeUndefined();
  expect(config.providers.openai).toBeUndefined();
});

it('lets flags beat the environment and the environment beat the file [verifies cli.config]', async () => {
  const sources = {
    file: await file('port: 1000\nhost: 127.0.0.2\ndataDir: from-file'),
    env: { NEXUS_PORT: '2000', NEXUS_HOST: '127.0.0.3' },
  };
  expect(resolveConfig({ ...sources, flags: { port: 3000 } })).toMatchObject({ port: 3000, host: '127.0.0.3', dataDir: 'from-file' });
});

it('merges nested keys and replaces lists', async () => {
  const config = resolveConfig({
    file: await file(
      'auth: { allowedHosts: [a.example], allowedOrigins: ["https://a.example"] }\nproviders: { openai: { baseUrl: "http://x/v1" } }',
    ),
    env: { NEXUS_ALLOWED_HOSTS: 'b.example, c.example', OPENAI_API_KEY: 'sk-1' },
  });
  expect(config.auth).toMatchObject({ allowedHosts: ['b.example', 'c.example'], allowedOrigins: ['https://a.example'] });
  expect(config.providers.openai).toEqual({ baseUrl: 'http://x/v1', apiKey: 'sk-1' });
});

it('reads every environment variable that sets a key', async () => {
  const samples: Record<string, string> = {
    NEXUS_PORT: '1',
    NEXUS_DATABASE_URL: 'postgres://u:p@h/d',
    NEXUS_REDIS_URL: 'redis://h:1',
    NEXUS_BUS: 'redis',
    NEXUS_SIM: 'off',
    NEXUS_LOG_LEVEL: 'warn',
    NEXUS_LOG_PRETTY: 'true',
    NEXUS_ALLOWED_HOSTS: 'h',
    NEXUS_KEY_SECRET: 'k'.repeat(32),
    NEXUS_DEFINITIONS_IMPORT: 'manual',
    NEXUS_FILES_STORE: 's3',
    NEXUS_AUTH_LOCAL: 'open',
    NEXUS_GRPC_PORT: '2',
    NEXUS_GRPC_TOKEN: 't'.repeat(16),
    NEXUS_GRPC_METRICS_PORT: '3',
    NEXUS_GRPC_METRICS_TOKEN: 't'.repeat(16),
    NEXUS_PLUGINS_TRUSTED_KEYS: `${'A'.repeat(43)}=`,
    NEXUS_TOOLS_REMOTE: 'h:1',
    NEXUS_TOOLS_REMOTE_TOKEN: 't'.repeat(16),
  };
  const named = configSettings.filter(({ environment }) => environment !== undefined);
  expect(named.length).toBeGreaterThan(20);
  for (const { environment: name = '', path } of named) {
    const text = samples[name] ?? 'http://h';
    const value = path.split('.').reduce<unknown>((tree, part) => Object(tree)[part], resolveConfig({ env: { [name]: text } }));
    expect(String(value), name).toBe(text);
  }
});

it('treats an empty variable as one that is not set', async () => {
  expect(resolveConfig({ env: { NEXUS_DATABASE_URL: '', NEXUS_PORT: ' ' } })).toMatchObject({ port: 8080 });
});

it('refuses unknown keys with their path and the nearest known one', async () => {
  const message = await fault(async () =>
    resolveConfig({ file: await file('runs: { leaseMS: 1000 }\nprot: 1\nproviders: { openai: { key: x } }'), env: {} }),
  );
  expect(message).toContain('runs.leaseMS: unknown field; did you mean "leaseMs"? (from nexus.config.yaml)');
  expect(message).toContain('prot: unknown field; did you mean "port"?');
  expect(await fault(async () => resolveConfig({ file: await file('qdrantUrl: http://h'), env: {} }))).toContain(
    'qdrantUrl: unknown field',
  );
  expect(message).toContain('providers.openai.key: unknown field; known fields are apiKey, baseUrl');
});

it('says where a wrong value came from, what it was and what is expected', async () => {
  expect(await fault(async () => resolveConfig({ env: { NEXUS_PORT: 'http' } }))).toContain(
    'port: expected number, got "http" (from NEXUS_PORT)',
  );
  expect(await fault(async () => resolveConfig({ env: {}, flags: { port: 70_000 } }))).toMatch(
    /port: .*65535.*, got 70000 \(from a flag\)/,
  );
  expect(await fault(async () => resolveConfig({ file: await file('bus: kafka'), env: {} }))).toContain(
    'got "kafka" (from nexus.config.yaml)',
  );
});

it('never repeats a secret in a message', async () => {
  const message = await fault(async () => resolveConfig({ file: await file('providers: { openai: { apiKey: [s3cret] } }'), env: {} }));
  expect(message).toContain('providers.openai.apiKey');
  expect(message).not.toContain('s3cret');
  for (const name of ['NEXUS_DATABASE_URL', 'NEXUS_REDIS_URL'])
    expect(await fault(() => resolveConfig({ env: { [name]: 'postgres://user:half/s3cret@host/database' } }))).not.toContain('s3cret');
  const above = await fault(async () => resolveConfig({ file: await file('providers: { openai: s3cret }'), env: {} }));
  expect(above).toContain('providers.openai: expected object');
  expect(above).not.toContain('s3cret');
});

it('fills in environment variables and refuses one that is not set', async () => {
  const text = ["providers: { compatible: [{ name: local, baseUrl: 'http://$", "{env:LLM}/v1', models: [a, { id: b }] }] }"].join('');
  expect(resolveConfig({ file: await file(text), env: { LLM: 'h:1' } }).providers.compatible).toEqual([
    { name: 'local', baseUrl: 'http://h:1/v1', models: [{ id: 'a' }, { id: 'b' }] },
  ]);
  expect(await fault(async () => resolveConfig({ file: await file(text), env: {} }))).toContain(
    'providers.compatible[0].baseUrl names the environment variable LLM, which is not set',
  );
});

it('refuses what is not a YAML mapping', async () => {
  expect(await fault(async () => resolveConfig({ file: await file('a: [1'), env: {} }))).toContain('not valid YAML');
  expect(await fault(async () => resolveConfig({ file: await file('- a'), env: {} }))).toContain('must hold a mapping');
  expect(resolveConfig({ file: await file(''), env: {} }).port).toBe(8080);
});

it('reads a variable that a file names as the kind of its key', async () => {
  const text = `port: \${env:P}\nlog: { pretty: "\${env:Y}" }\nauth: { allowedHosts: "\${env:H}" }\nhost: \${env:N}`;
  const env = { P: ' 9000 ', Y: 'off', H: 'a.example, b.example', N: '127.0.0.2' };
  expect(resolveConfig({ file: await file(text), env })).toMatchObject({
    port: 9000,
    host: '127.0.0.2',
    log: { pretty: false },
    auth: { allowedHosts: ['a.example', 'b.example'] },
  });
  expect(await fault(async () => resolveConfig({ file: await file(text), env: { ...env, P: 'many' } }))).toContain(
    'port: expected number, got "many"',
  );
});

it.each([
  ['an alias of nothing', 'host: *nowhere'],
  [
    'aliases of aliases of aliases',
    [
      'a: &a [x, x]',
      ...'bcdefghijklmnopqrs'
        .split('')
        .map((name, at) => `${name}: &${name} [*${'abcdefghijklmnopqrs'[at]}, *${'abcdefghijklmnopqrs'[at]}]`),
    ].join('\n'),
  ],
])('refuses %s, naming the file', async (_what, text) => {
  expect(await fault(() => file(text))).toContain('nexus.config.yaml is not valid YAML');
});

it('refuses a heartbeat that lets a live lease run out', async () => {
  expect(await fault(async () => resolveConfig({ env: {}, flags: { runs: { heartbeatMs: 900, leaseMs: 1000 } } }))).toContain(
    'runs.heartbeatMs',
  );
});

it('shows a configuration without its secrets [verifies cli.config]', async () => {
  const config = resolveConfig({
    file: await file('otlp: { headers: { authorization: s3cret } }'),
    env: { OPENAI_API_KEY: 's3cret', NEXUS_DATABASE_URL: 'postgres://user:s3cret@db/x', NEXUS_API_KEY: 's3cret' },
  });
  const shown = JSON.stringify(redactConfig(config));
  expect(shown).not.toContain('s3cret');
  expect(shown).toContain('postgres://user:[redacted]@db/x');
});

it.each([
  ['postgres://u:my secret pw@db/x', 'postgres://u:[redacted]@db/x'],
  ['postgres://u:p/w?#@db/x', 'postgres://u:[redacted]@db/x'],
  ['postgres://u:p@ss@db/x', 'postgres://u:[redacted]@db/x'],
  ['postgres://u@db/x?sslmode=require&password=hunter2', 'postgres://u@db/x?sslmode=require&password=[redacted]'],
  ['postgres://db:5432/x', 'postgres://db:5432/x'],
])('shows an address without its credentials, whatever their characters: %s', (databaseUrl, shown) => {
  expect(redactConfig({ ...resolveConfig({ env: {} }), databaseUrl })).toMatchObject({ databaseUrl: shown });
});

it('points the command line at the server of the same configuration unless told otherwise', async () => {
  expect(clientUrl(resolveConfig({ env: {} }))).toBe('http://127.0.0.1:8080');
  expect(clientUrl(resolveConfig({ env: { NEXUS_HOST: '0.0.0.0', NEXUS_PORT: '9000' } }))).toBe('http://127.0.0.1:9000');
  expect(clientUrl(resolveConfig({ env: { NEXUS_HOST: '::1' } }))).toBe('http://[::1]:8080');
  expect(clientUrl(resolveConfig({ env: { NEXUS_URL: 'https://nexus.example.com' } }))).toBe('https://nexus.example.com');
});

it('shows no header of a provider and nothing that is added to its requests, whatever its kind', async () => {
  const text = `providers:
  anthropic: { apiKey: s3cret, headers: { x-gateway: s3cret } }
  openai: { headers: { authorization: s3cret }, extraBody: { user: s3cret, pin: 424242, nested: { list: [s3cret, true] } } }
  compatible: [{ name: a, baseUrl: "http://h/v1?api-key=s3cret&api-version=1", models: [m], headers: { x: s3cret }, extraBody: { k: 424242 } }]`;
  const shown = JSON.stringify(redactConfig(resolveConfig({ file: await file(text), env: {} })));
  expect(shown).not.toMatch(/s3cret|424242|true\]/);
  expect(shown).toContain('api-version=1');
});

it.each([
  ['a fragment', 'https://h/v1#part', 'without a fragment'],
  ['credentials', 'https://user:s3cret@h/v1', 'without credentials'],
  ['a name alone', 'https://user@h/v1', 'without credentials'],
])('refuses an address of a provider with %s, which would not be sent', async (_what, url, words) => {
  const compatible = `providers: { compatible: [{ name: a, baseUrl: "${url}", models: [m] }] }`;
  const message = await fault(async () => resolveConfig({ file: await file(compatible), env: { OPENAI_BASE_URL: url } }));
  expect(message).toContain(`providers.compatible[0].baseUrl: expected an address ${words}`);
  expect(message).toContain(`providers.openai.baseUrl: expected an address ${words}`);
  expect(message).not.toContain('s3cret');
});

it('says of an address without a scheme that alone, and nothing of parts that it does not have', async () => {
  const compatible = 'providers: { compatible: [{ name: a, baseUrl: "127.0.0.1:8000/v1", models: [m] }] }';
  const message = await fault(async () => resolveConfig({ file: await file(compatible), env: {} }));
  expect(message).toContain('providers.compatible[0].baseUrl: expected an http or https address: it begins with no scheme such as http://');
  expect(message).not.toMatch(/fragment|credentials/);
});

it.each([
  ['headers: { content-length: "1" }', 'none of the connection itself'],
  ['headers: { "a b": x }', 'expected names of headers'],
  ['headers: { x: "s3cret\\nnext" }', 'on one line'],
  ['extraBody: { stream: false, user: s3cret }', 'which the platform sets itself'],
  ['extraBody: { max_tokens: 1000000 }', 'which the platform sets itself'],
  ['omit: [stream_options]', 'expected "responseFormat" or'],
])('refuses what a request cannot have: %s', async (setting, words) => {
  const message = await fault(async () => resolveConfig({ file: await file(`providers: { openai: { ${setting} } }`), env: {} }));
  expect(message).toContain(words);
  expect(message).not.toContain('s3cret');
});

it('does without a home folder where this user has none, neither by HOME nor among the users of the machine', () => {
  const spy = vi.spyOn(os, 'homedir').mockImplementation(() => {
    throw new Error('uv_os_homedir returned ENOENT');
  });
  syncBuiltinESMExports();
  try {
    const config = resolveConfig({ env: {} });
    expect(tokenFolders(config)).toEqual([resolve('.nexus/local')]);
    expect(secretsOfConfig(config).outward('the rest')).toBe('the rest');
    expect(() => createNexusClient({ baseUrl: 'http://127.0.0.1:1' })).not.toThrow();
  } finally {
    spy.mockRestore();
    syncBuiltinESMExports();
  }
});
