import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { acquirePostgres } from '../support/postgres.ts';
import { fillFolder, type LogLine, type NodeProcess, runNexus, startNode } from './support/node-process.ts';

const agent = (version: string) =>
  JSON.stringify({
    name: 'helper',
    instructions: version,
    models: ['sim/sim-large'],
    tools: ['fs_list', 'ask_human'],
    policy: { allow: ['fs_list', 'ask_human'] },
  });
const forbid = (tool: string) => `@id("no-${tool}") forbid (principal, action == Action::"tool.execute", resource == Tool::"${tool}");`;
const asking = '[[sim tools=ask_human(question="?")]] [[sim say="done"]]';

async function until<T>(what: string, look: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  for (const endAt = performance.now() + 15_000; ; await sleep(20)) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > endAt) throw new Error(`${what} did not come`);
  }
}

const lines = (node: NodeProcess, message: RegExp) => node.log().filter((line) => message.test(line.message));
const untilSaid = (node: NodeProcess, message: RegExp, fits: (line: LogLine) => boolean = () => true) =>
  until(String(message), () => lines(node, message).find(fits));
const following = /^definitions are in use$/;

/** One database, and nodes that each have folders of their own. */
interface Site {
  folder(name: string): string;
  env(name: string, more?: Record<string, string>): Record<string, string>;
  start(name: string, more?: Record<string, string>): Promise<NodeProcess>;
}

/** The suite on one database; the nodes of Postgres share nothing else, those of SQLite the folder of its file. */
function onDatabase(database: 'postgres' | 'sqlite', suite: (use: (context: TestContext) => Site) => void): void {
  describe(`nodes over one database: ${database}`, () => {
    const home = mkdtempSync(join(tmpdir(), 'nexus-nodes-'));
    const started: NodeProcess[] = [];
    let postgres: Awaited<ReturnType<typeof acquirePostgres>> | undefined;
    beforeAll(async () => {
      if (database === 'postgres') postgres = await acquirePostgres();
    }, 60_000);
    afterAll(async () => {
      await Promise.all(started.map((node) => node.kill()));
      if (postgres !== undefined && 'close' in postgres) await postgres.close();
      rmSync(home, { recursive: true, force: true });
    });
    const site: Site = {
      folder: (name) => join(home, name),
      env(name, more = {}) {
        const folder = join(home, name);
        fillFolder(folder, { 'agents/.keep': '', 'policies/.keep': '' });
        const folders = { NEXUS_AGENTS_DIR: join(folder, 'agents'), NEXUS_POLICIES_DIR: join(folder, 'policies') };
        const place = postgres !== undefined && 'url' in postgres ? { NEXUS_DATABASE_URL: postgres.url, NEXUS_DATA_DIR: folder } : {};
        return { NEXUS_DATA_DIR: join(home, 'shared'), ...place, ...folders, ...more };
      },
      async start(name, more) {
        const node = await startNode(site.folder(name), site.env(name, more));
        started.push(node);
        return node;
      },
    };
    suite((context) => {
      if (postgres !== undefined && 'reason' in postgres) return context.skip(postgres.reason);
      return site;
    });
  });
}

for (const database of ['postgres', 'sqlite'] as const) {
  onDatabase(database, (use) => {
    let [a, b]: (NodeProcess | undefined)[] = [];
    const both = () => {
      if (a === undefined || b === undefined) throw new Error('the nodes did not start');
      return { a, b };
    };

    it('that start together on an empty database agree on one version and one key secret [verifies nodes.start.together]', async (context) => {
      const site = use(context);
      const names = database === 'postgres' ? ['a', 'b', 'c'] : ['a', 'b'];
      for (const name of names)
        fillFolder(site.folder(name), { 'policies/ops.cedar': forbid('nothing'), 'agents/helper.yaml': agent('one') });
      const nodes = await Promise.all(names.map((name) => site.start(name)));
      [a, b] = nodes;
      const seen = await Promise.all(nodes.map((node) => node.call('GET', '/v1/definitions')));
      for (const { body } of seen) {
        expect(body.policies).toMatchObject({ active: { version: 1 }, inUse: 1, folder: { state: 'active' } });
        expect(body.agents).toMatchObject({ active: { version: 1 }, inUse: 1, folder: { state: 'active' } });
        expect(body.policies.policyVersion).toBe(seen[0]?.body.policies.policyVersion);
      }
      const known = await until('all nodes', async () => {
        const { nodes: rows } = (await both().a.call('GET', '/v1/definitions')).body;
        return rows.length === names.length && rows;
      });
      expect(new Set(known.map((row: { keySecret: string }) => row.keySecret)).size).toBe(1);
      expect(known.filter((row: { self: boolean }) => row.self)).toHaveLength(1);
      if (nodes[2] !== undefined) expect(await nodes[2].stop()).toBe(0);
    }, 60_000);

    it('take each other’s API keys [verifies nodes.keys]', async (context) => {
      use(context);
      const { a, b } = both();
      const { body: key } = await a.call('POST', '/v1/keys', { name: 'k', scopes: ['runs'] });
      expect((await b.call('GET', '/v1/sessions', undefined, key.secret)).status).toBe(200);
      expect((await b.call('GET', '/v1/sessions', undefined, `${key.secret.slice(0, -2)}zz`)).status).toBe(401);
      expect((await b.call('DELETE', `/v1/keys/${key.id}`).catch(() => ({ status: 204 }))).status).toBe(204);
      expect((await a.call('GET', '/v1/sessions', undefined, key.secret)).status).toBe(401);
    });

    it('decide by a policy within a second of its import, without a bus [verifies nodes.definitions.follow]', async (context) => {
      use(context);
      const { a, b } = both();
      const { body: session } = await b.call('POST', '/v1/sessions', { agent: 'helper' });
      const list = async () => (await b.call('POST', '/v1/tools/fs_list/execute', { sessionId: session.id })).status;
      expect(await list()).toBe(200);
      a.put('policies/no.cedar', forbid('fs_list'));
      const imported = await untilSaid(a, /were imported/, ({ version, kind }) => kind === 'policies' && version === 2);
      await until('the denial', async () => (await list()) === 403);
      const followed = await untilSaid(b, following, ({ version, kind }) => kind === 'policies' && version === 2);
      expect(Date.parse(followed.time) - Date.parse(imported.time)).toBeLessThanOrEqual(1_000);
      // Its own folder has not changed, and it says so.
      expect(lines(b, /differs from the active definitions/)).toMatchObject([{ level: 'warn', holds: 'version 1', active: 2 }]);
      // Every decision names the version that was in use.
      const { body } = await a.call('GET', '/v1/definitions');
      const { body: run } = await b.call('POST', '/v1/runs', {
        agent: 'helper',
        input: '[[sim tools=fs_list()]] [[sim say="{{result}}"]]',
      });
      const done = await until('the run', async () => {
        const { body: row } = await b.call('GET', `/v1/runs/${run.id}`);
        return row.status === 'completed' && row;
      });
      expect(done.output).toContain('denied');
      const { body: decisions } = await a.call('GET', `/v1/runs/${run.id}/decisions`);
      expect(decisions.data.map((row: { policyVersion: string }) => row.policyVersion)).toContain(body.policies.policyVersion);
      expect(decisions.data.at(-1).policyVersion).toBe(body.policies.policyVersion);
    }, 30_000);

    // What follows from the store is shown on both databases by its own tests; here each process costs seconds.
    if (database === 'sqlite') return;

    it('use an agent that was changed on another, while a run keeps the version that it began with [verifies nodes.definitions.follow]', async (context) => {
      use(context);
      const { a, b } = both();
      const { body: before } = await b.call('POST', '/v1/runs', { agent: 'helper', input: asking });
      const { waitingFor } = await until('the question', async () => {
        const { body: row } = await b.call('GET', `/v1/runs/${before.id}`);
        return row.status === 'waiting' && row;
      });
      a.put('agents/helper.yaml', agent('two'));
      await untilSaid(b, following, ({ version, kind }) => kind === 'agents' && version === 2);
      const { body: after } = await b.call('POST', '/v1/runs', { agent: 'helper', input: 'hello' });
      expect(after.agentVersion).not.toBe(before.agentVersion);
      const { body: current } = await b.call('GET', '/v1/agents/helper');
      expect(current).toMatchObject({ version: after.agentVersion, source: 'file', definition: { instructions: 'two' } });
      await a.call('POST', `/v1/approvals/${waitingFor.approvals[0]}`, { decision: 'answer', result: 'yes' });
      const ended = await until('the end', async () => {
        const { body: row } = await a.call('GET', `/v1/runs/${before.id}`);
        return ['completed', 'failed'].includes(row.status) && row;
      });
      expect(ended).toMatchObject({ status: 'completed', agentVersion: before.agentVersion });
    }, 30_000);

    it('keep what is in use when files are broken, and say so [verifies nodes.definitions.broken]', async (context) => {
      use(context);
      const { a, b } = both();
      a.put('policies/no.cedar', 'forbid (');
      const line = await untilSaid(a, /cannot be used; the ones in use stay/);
      expect(line).toMatchObject({ level: 'error', kind: 'policies', inUse: 2, why: expect.stringContaining('no.cedar:1') });
      expect((await a.call('GET', '/v1/definitions')).body.policies).toMatchObject({ inUse: 2, folder: { state: 'broken' } });
      expect((await b.call('GET', '/v1/definitions')).body.policies.inUse).toBe(2);
      // The same, asked for from outside.
      const refused = await a.call('POST', '/v1/definitions/policies/import', {});
      expect(refused).toMatchObject({ status: 409, body: { code: 'conflict', detail: expect.stringContaining('no.cedar:1') } });
      a.put('policies/no.cedar', `${forbid('fs_list')}\n// mended`);
      await untilSaid(b, following, ({ version, kind }) => kind === 'policies' && version === 3);
    }, 30_000);

    it('are not taken back by one that restarts with earlier files, which is told [verifies nodes.definitions.order]', async (context) => {
      const site = use(context);
      expect(await both().b.stop()).toBe(0);
      b = await site.start('b');
      const restarted = b;
      const { policies, agents, nodes } = (await restarted.call('GET', '/v1/definitions')).body;
      expect(policies).toMatchObject({ active: { version: 3 }, inUse: 3, folder: { state: 'earlier', version: 1 } });
      expect(agents).toMatchObject({ active: { version: 2 }, inUse: 2, folder: { state: 'earlier', version: 1 } });
      expect(lines(restarted, /differs/)).toHaveLength(2);
      expect(nodes.map((row: { self: boolean; policies: unknown }) => [row.self, row.policies])).toEqual(
        expect.arrayContaining([
          [true, { inUse: 3, folder: 'earlier' }],
          [false, { inUse: 3, folder: 'active' }],
        ]),
      );
      const env = { ...site.env('b'), NEXUS_URL: restarted.url };
      const [doctor, shown] = await Promise.all([runNexus(['doctor'], env), runNexus(['definitions'], env)]);
      expect(doctor.out).toMatch(
        /! policies +1 policy file in .*; it is version 1, and version 3, imported from .*, decides; nexus definitions import policies/,
      );
      expect(shown.out).toMatch(
        /policies: version 3, imported .*\n.*decisions name it [0-9a-f]{16}\n.*policies holds an earlier version, 1\n/,
      );
      // Going back is a thing to say.
      const back = await runNexus(['definitions', 'import', 'policies'], env);
      expect(back).toMatchObject({ code: 0, out: expect.stringContaining('policies: version 4') });
      await untilSaid(both().a, following, ({ version, kind }) => kind === 'policies' && version === 4);
    }, 30_000);

    it('read their folders at SIGHUP, and go on', async (context) => {
      use(context);
      const { a } = both();
      const before = lines(a, /were read again/).length;
      a.put('agents/second.yaml', agent('three').replace('helper', 'second'));
      a.signal('SIGHUP');
      await until('the line', () => lines(a, /were read again/).length > before);
      expect((await a.call('GET', '/v1/agents/second')).status).toBe(200);
    });

    it('are set up as the guide says: a key is made on one machine, and another needs nothing but the database [verifies nodes.keys]', async (context) => {
      const site = use(context);
      const { NEXUS_AGENTS_DIR: _agents, NEXUS_POLICIES_DIR: _policies, ...bare } = site.env('bare');
      const made = await runNexus(
        ['keys', 'create', '--embedded', '--name', 'ops', '--scope', 'runs', 'approvals', 'admin'],
        site.env('a'),
      );
      expect(made).toMatchObject({ code: 0, out: expect.stringMatching(/^nx_\S+\n$/) });
      const node = await startNode(site.folder('elsewhere'), { ...bare, NEXUS_DATA_DIR: site.folder('elsewhere'), NEXUS_HOST: '0.0.0.0' });
      try {
        expect((await node.call('GET', '/v1/agents')).status).toBe(401);
        const { body } = await node.call('GET', '/v1/definitions', undefined, made.out.trim());
        expect(body.policies).toMatchObject({ inUse: body.policies.active.version, folder: { state: 'none' } });
        const agents = await node.call('GET', '/v1/agents', undefined, made.out.trim());
        expect(agents.body.data.map((row: { name: string }) => row.name)).toContain('helper');
      } finally {
        await node.kill();
      }
    }, 30_000);

    it('tell when one of them hashes keys under another secret, and such a one does not start once that matters [verifies nodes.keys]', async (context) => {
      const site = use(context);
      const odd = await site.start('odd', { NEXUS_KEY_SECRET: 'a secret of more than thirty-two letters' });
      const { body: key } = await odd.call('POST', '/v1/keys', { name: 'k' });
      expect((await odd.call('GET', '/v1/sessions', undefined, key.secret)).status).toBe(200);
      expect((await both().a.call('GET', '/v1/sessions', undefined, key.secret)).status).toBe(401);
      const told = await untilSaid(both().a, /API keys made on other nodes are refused here/);
      expect(told.nodes).toHaveLength(1);
      await expect(site.start('late')).rejects.toThrow(
        /1 active API key of this database was made under the configured secret .* this node has none configured/,
      );
      const log = [both().a, odd].map((node) => JSON.stringify(node.log())).join();
      expect(log).not.toContain('thirty-two letters');
    }, 30_000);
  });
}
