import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { browse, type Guarded, openLoginAt, startGuarded } from '../../packages/server/src/tools/sources/testing/index.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { execute } from '../support/sql.ts';
import { fillFolder, startNode } from './support/node-process.ts';

const settings = (guarded: Guarded, key: string) =>
  `mcpClient:\n  allowPrivate: ["127.0.0.1:${guarded.mcp.port}", "127.0.0.1:${guarded.as.port}"]\n${key === '' ? '' : `  oauth:\n    key: "${key}"\n`}`;

it('two processes on Postgres renew a token once, and one that dies at it leaves the login to the other [verifies tools.mcp.oauth.refresh] [verifies tools.mcp.oauth.sealed]', async (context) => {
  const postgres = await acquirePostgres();
  if ('reason' in postgres) return context.skip(postgres.reason);
  const guarded = await startGuarded();
  const home = mkdtempSync(join(tmpdir(), 'nexus-oauth-'));
  const key = 'one key for all of the processes there are';
  const start = (name: string, given = key) => {
    const folder = join(home, name);
    fillFolder(folder, { 'nexus.yaml': settings(guarded, given), 'agents/.keep': '', 'policies/.keep': '' });
    return startNode(folder, {
      ...{ NEXUS_DATABASE_URL: postgres.url, NEXUS_DATA_DIR: folder, NEXUS_CONFIG: join(folder, 'nexus.yaml') },
      ...{ NEXUS_AGENTS_DIR: join(folder, 'agents'), NEXUS_POLICIES_DIR: join(folder, 'policies') },
    });
  };
  const definition = { transport: { type: 'http', url: guarded.mcp.url }, auth: { type: 'oauth' } };
  const path = '/v1/mcp-servers/docs';
  const nodes = await Promise.all([start('a'), start('b'), start('keyless', '')]);
  try {
    const [a, b, keyless] = nodes;
    const refused = await keyless.call('PUT', path, definition);
    expect(refused).toMatchObject({
      status: 500,
      body: { code: 'config_invalid', detail: expect.stringMatching(/mcpClient\.oauth\.key/) },
    });

    guarded.as.tokenAnswer = { expires_in: 6 };
    await a.call('PUT', path, definition);
    const { address, cookies } = await openLoginAt((await a.call('POST', `${path}/login`)).body);
    const { back } = await browse(address);
    // The browser may come back to any process.
    expect((await fetch(back.href.replace(back.origin, b.url), { headers: { cookie: cookies } })).status).toBe(200);
    const rows = JSON.stringify(await execute({ url: postgres.url }, 'select * from mcp_grants'));
    for (const token of [...guarded.as.access.keys(), ...guarded.as.refresh.keys()]) expect(rows).not.toContain(token);
    expect((await keyless.call('GET', `${path}/login`)).body).toMatchObject({ state: 'needed' });

    guarded.as.tokenDelayMs = 300;
    guarded.as.tokenAnswer = { expires_in: 3_600 };
    await new Promise((resolve) => setTimeout(resolve, 3_200));
    const renewals = () => guarded.as.tokenRequests.filter(({ body }) => body.grant_type === 'refresh_token').length;
    const inspected = await Promise.all(Array.from({ length: 8 }, (_, index) => (index % 2 === 0 ? a : b).call('GET', path)));
    expect(inspected.map(({ body }) => body.fault)).toEqual(inspected.map(() => undefined));
    expect(renewals()).toBe(1);

    // A process that dies while it renews: the refresh token was not spent, so the other one does it when the time of the first is over.
    await execute(
      { url: postgres.url },
      `update mcp_grants set held_until = (extract(epoch from now()) * 1000)::bigint + 2000, version = 'dead'`,
    );
    guarded.as.access.clear();
    await new Promise((resolve) => setTimeout(resolve, 10_000)); // a token that is younger is not asked for again
    expect((await b.call('GET', path)).body.fault).toBeUndefined();
    expect(renewals()).toBe(2);
  } finally {
    await Promise.all(nodes.map((node) => node.kill()));
    await guarded.close();
    await postgres.close();
    rmSync(home, { recursive: true, force: true });
  }
}, 90_000);
