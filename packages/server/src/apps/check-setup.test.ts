import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ConfigInput, resolveConfig } from '#apps/config';
import { startTestPlatform } from '#apps/testing';
import { startServer } from '#llm/testing';
import { checkSetup } from './check-setup.ts';
import { spaceFinding } from './disk-space.ts';

let dataDir: string;
const open: { close(): Promise<void> }[] = [];
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'nexus-test-'));
});
afterEach(async () => {
  for (const item of open.splice(0)) await item.close();
  await rm(dataDir, { recursive: true, force: true });
});

/** What one check of the setup found. */
async function found(name: string, flags: ConfigInput = {}, env: Record<string, string> = {}) {
  const checks = await checkSetup(resolveConfig({ env, flags: { dataDir, ...flags } }));
  const check = checks.find((each) => each.name === name);
  return `${check?.status} ${check?.detail}`;
}

describe('the database', () => {
  it('is made at the first start, and not before', async () => {
    expect(await found('database')).toMatch(/^ok embedded; .*nexus\.db is made at the first start/);
    expect(await readdir(dataDir)).toEqual([]);
  });

  it('is read through when it is there, also while a server uses it', async () => {
    const platform = await startTestPlatform({ dataDir });
    open.push(platform);
    expect(await found('database')).toBe(`ok embedded, in ${join(dataDir, 'nexus.db')}`);
  });

  it('that is none is told', async () => {
    await writeFile(join(dataDir, 'nexus.db'), 'not a database '.repeat(1_000));
    expect(await found('database')).toMatch(/^fail .*nexus\.db cannot be opened: .*not a database/);
  });

  it('that cannot be read leaves nothing ticked that is kept in it', async () => {
    await writeFile(join(dataDir, 'nexus.db'), 'not a database '.repeat(1_000));
    for (const name of ['policies', 'agents', 'key secret']) expect(await found(name)).toMatch(/^warn .*as the database cannot be read/);
  });

  it('of another version of the program is told: an older one is brought up to date, a newer one is refused', async () => {
    await (await startTestPlatform({ dataDir })).close();
    const change = (statement: string) => {
      const database = new DatabaseSync(join(dataDir, 'nexus.db'));
      database.exec(statement);
      database.close();
    };
    change('create table kept as select * from schema_migrations; delete from schema_migrations where version > 1');
    expect(await found('database')).toMatch(/^warn embedded, in .*; the schema of the database lacks version 2; the next start, /);
    expect(await found('policies')).toMatch(/^warn /);
    change('insert into schema_migrations (version, name, applied_at) select 999, name, applied_at from kept limit 1');
    expect(await found('database')).toMatch(/^fail embedded, in .*; the database has schema version 999/);
  });

  it('that nothing has started on yet is no fault', async () => {
    await writeFile(join(dataDir, 'nexus.db'), '');
    expect(await found('policies')).toMatch(/^ok 0 policy files in /);
    expect(await found('key secret')).toBe('ok kept in the database');
  });

  it('of Postgres is told with the reason, and without its password', async () => {
    const detail = await found('database', { databaseUrl: 'postgres://user:secret-word@127.0.0.1:9/d' });
    expect(detail).toMatch(/^fail Postgres at 127\.0\.0\.1:9 cannot be used: .*ECONNREFUSED/);
    expect(detail).not.toContain('secret-word');
  });
});

it('tells how much room is left where it is little', () => {
  expect(spaceFinding('/data', 100_000_000)).toEqual({ status: 'ok', detail: '/data can be written' });
  expect(spaceFinding('/data', 99_900_000)).toMatchObject({
    status: 'warn',
    detail: expect.stringMatching(/^99\.9 MB are left on the disk of/),
  });
  expect(spaceFinding('/data', 999_999)).toMatchObject({ status: 'fail' });
  expect(spaceFinding('/data', 0)).toMatchObject({
    status: 'fail',
    detail: expect.stringMatching(/^0\.0 MB are left .*; free some, or name/),
  });
});

it('tells a Redis that cannot be used, with the reason', async () => {
  expect(await found('bus', { redisUrl: 'redis://:secret-word@127.0.0.1:9' })).toMatch(
    /^fail Redis at 127\.0\.0\.1:9 cannot be used: .*ECONNREFUSED/,
  );
  expect(await found('bus', { bus: 'redis' })).toMatch(/^fail bus: redis needs redisUrl/);
  expect(await found('bus')).toBe('undefined undefined');
});

describe('the definitions', () => {
  it('are read as a start does, and files that are not read are named', async () => {
    await mkdir(join(dataDir, 'agents'));
    await writeFile(join(dataDir, 'agents', 'a.YAML'), 'name: a\nmodels: [sim/sim-large]\n');
    expect(await found('agents')).toBe(`ok 1 agent in ${join(dataDir, 'agents')}`);
    await writeFile(join(dataDir, 'agents', 'b.json'), '{}');
    expect(await found('agents')).toMatch(/^warn 1 agent in .*; not read: b\.json \(its name ends with none of/);
    await writeFile(join(dataDir, 'agents', 'c.yaml'), 'name: [');
    expect(await found('agents')).toMatch(/^fail .*c\.yaml is not valid YAML/);
  });

  it('with faults in a policy fail', async () => {
    await mkdir(join(dataDir, 'policies'));
    await writeFile(join(dataDir, 'policies', 'ops.cedar'), 'permit (principal, acion, resource);');
    expect(await found('policies')).toMatch(/^fail .*ops\.cedar:1:20/);
    expect(await found('agents')).toMatch(/^ok/);
  });

  it('in folders that are not there fail', async () => {
    const nope = join(dataDir, 'nope');
    expect(await found('agents', { agentsDir: nope })).toMatch(/^fail agentsDir .*there is no folder/);
    expect(await found('policies', { policiesDir: nope })).toMatch(/^fail policiesDir .*there is no folder/);
    expect(await found('workspace seed', { workspaceSeed: nope })).toMatch(/^fail workspaceSeed .*there is no folder/);
  });
});

// Each of them starts servers and checks the setup again and again, which a busy machine takes its time for.
describe('what all nodes share', { timeout: 90_000 }, () => {
  const policy = 'forbid (principal, action == Action::"tool.execute", resource == Tool::"nothing");';
  const put = async (text: string) => {
    await mkdir(join(dataDir, 'policies'), { recursive: true });
    await writeFile(join(dataDir, 'policies', 'ops.cedar'), text);
  };
  const startOnce = async (config: ConfigInput = {}) => {
    const platform = await startTestPlatform({ dataDir, config });
    const key = async () => platform.key(['runs']);
    return { key, close: () => platform.close() };
  };

  it('is held against the folder: what is active, what a start would import, and what it would not', async () => {
    await put(policy);
    expect(await found('policies')).toBe(`ok 1 policy file in ${join(dataDir, 'policies')}`);
    await (await startOnce()).close();
    expect(await found('policies')).toMatch(/^ok 1 policy file in .*; active as version 1$/);
    await put(`${policy} // more`);
    expect(await found('policies')).toMatch(
      /^warn .*; never imported: a start, or a server that runs, takes it over in the place of version 1, imported from /,
    );
    await (await startOnce()).close();
    await put(policy);
    // Where the database is embedded, what the active version came from is taken over, also if it is older.
    expect(await found('policies')).toMatch(
      /^warn .*; it is version 1: a start, or a server that runs, takes it over in the place of version 2, /,
    );
    const elsewhere = join(dataDir, 'elsewhere');
    await cp(join(dataDir, 'policies'), elsewhere, { recursive: true });
    expect(await found('policies', { policiesDir: elsewhere })).toMatch(
      /^warn .*; it is version 1, and version 2, imported from .*, decides; nexus definitions import policies makes it active again$/,
    );
    const byHand: ConfigInput = { definitions: { import: 'manual' } };
    expect(await found('policies', byHand)).toMatch(
      /^warn .*; it is version 1, and version 2, .*, decides; nexus definitions import policies/,
    );
    await put(`${policy} // new`);
    expect(await found('policies', byHand)).toMatch(
      /^warn .*; never imported, and version 2, .*, decides; nexus definitions import policies/,
    );
    await rm(join(dataDir, 'policies'), { recursive: true });
    expect(await found('policies')).toMatch(/^ok 0 policy files in .*; version 2, imported from .*, decides$/);
  });

  it('has a key secret that is told when nodes were given different ones', async () => {
    const keySecret = 'a secret of more than thirty-two letters';
    expect(await found('key secret')).toBe('ok kept in the database');
    const platform = await startOnce({ auth: { keySecret } });
    await platform.key();
    await platform.close();
    expect(await found('key secret', { auth: { keySecret } })).toMatch(/^ok configured, fingerprint [0-9a-f]{16}$/);
    const others: readonly { readonly keySecret?: string }[] = [{}, { keySecret: `${keySecret}!` }];
    for (const auth of others) {
      const text = await found('key secret', { auth });
      expect(text).toMatch(
        /^fail auth\.keySecret .*: 1 active API key of this database was made under the configured secret [0-9a-f]{16}, /,
      );
      expect(text).not.toContain('letters');
      const refused = await startOnce({ auth }).catch((error: Error) => error);
      expect(`fail ${refused instanceof Error ? refused.message : 'a start'}`).toBe(text);
    }
    await writeFile(join(dataDir, 'key-secret'), 'short');
    expect(await found('key secret')).toMatch(/^fail .*key-secret is damaged: it must hold 32 bytes/);
  });

  it('has a key secret that no key needs, and that another node has: worth knowing, and no reason not to start', async () => {
    await (await startOnce({ auth: { keySecret: 'a secret of more than thirty-two letters' } })).close();
    expect(await found('key secret')).toMatch(
      /^warn other nodes of this database were given another one \(fingerprint [0-9a-f]{16}\); give all nodes the same/,
    );
    await (await startOnce()).close();
  });
});

describe('a provider', () => {
  async function provider(status: number, body: string) {
    const server = await startServer((request, response) => {
      const allowed = request.headers.authorization === 'Bearer sk-good';
      if (request.url === '/v1/models' && allowed) return void response.writeHead(status).end(body);
      response.writeHead(401).end('{"error":{"message":"wrong key"}}');
    });
    open.push(server);
    return (models: string[], apiKey = 'sk-good'): ConfigInput => ({
      providers: { compatible: [{ name: 'local', baseUrl: `${server.url}/v1`, apiKey, models }] },
    });
  }

  it('is asked for its models with its key', async () => {
    const of = await provider(200, '{"data":[{"id":"a"},{"id":"b:latest"}]}');
    expect(await found('local', of(['a', 'b']))).toMatch(/^ok http:.* answers with 2 models/);
    expect(await found('local', of(['a', 'z']))).toMatch(/^warn .*does not list z; it lists a, b:latest/);
    expect(await found('local', of(['a'], 'sk-secret-word'))).toMatch(/^fail local .*key/);
    expect(await found('local', of(['a'], 'sk-secret-word'))).not.toContain('secret-word');
  });

  it('without a list of models is worth a warning', async () => {
    const of = await provider(404, 'not here');
    expect(await found('local', of(['a']))).toMatch(/^warn .*has no list of models/);
  });

  it('that cannot be reached fails, and the proxy in between is named', async () => {
    const flags: ConfigInput = { providers: { compatible: [{ name: 'far', baseUrl: 'https://models.test/v1', models: ['m'] }] } };
    expect(await found('far', flags, { HTTPS_PROXY: 'http://u:secret-word@127.0.0.1:9' })).toBe(
      'fail far cannot be reached: the proxy 127.0.0.1:9 cannot be reached (ECONNREFUSED)',
    );
    expect(await found('openai', { providers: { openai: {} } })).toMatch(/^fail no API key is set/);
  });
});
