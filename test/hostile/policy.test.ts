import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databases, startVictim, type Victim } from './support/victim.ts';

/** A server that counts who connects, and keeps what it was sent. */
async function startTarget(answer: (path: string) => { readonly status: number; readonly location?: string }) {
  const seen: { readonly path: string; readonly headers: Record<string, unknown> }[] = [];
  let connections = 0;
  const server: Server = createServer((request, response) => {
    seen.push({ path: request.url ?? '', headers: request.headers });
    const { status, location } = answer(request.url ?? '');
    response.writeHead(status, location === undefined ? {} : { location }).end('canary-of-the-host');
  });
  server.on('connection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // a port was asked for
  return { port, seen, connections: () => connections, close: () => new Promise((resolve) => server.close(resolve)) };
}

type Target = Awaited<ReturnType<typeof startTarget>>;

/** Ways to write 127.0.0.1 in a URL; some are refused as no URL, none is another host. */
const loopback = [
  '127.0.0.1',
  '127.0.0.1.',
  '127.1',
  '127.0.1',
  '2130706433',
  '0x7f000001',
  '0x7F.1',
  '017700000001',
  '0177.0.0.01',
  '0x7f.0x0.0x0.0x1',
  '[::ffff:127.0.0.1]',
  '[::FFFF:7F00:1]',
  '[0:0:0:0:0:ffff:127.0.0.1]',
  '[::ffff:7f00:0001]',
  '%31%32%37.0.0.1',
  '127%2e0%2E0%2e1',
  '１２７.0.0.1',
  '127。0。0。1',
  '127．0．0．1',
  '127.0.0.1%2e',
  '①②⑦.0.0.1',
  '127.0.0\u00ad.1',
  '127.0.0.\u200b1',
  '127.0.0.1\t',
  '[::ffff:127.0.0.1%25lo]',
  '127.0.0.1..',
];
/** The same of a name. */
const named = [
  'localhost',
  'LOCALHOST',
  'LocalHost.',
  'localhost..',
  'local\u00adhost',
  'ｌｏｃａｌｈｏｓｔ',
  'ⓛⓞⓒⓐⓛⓗⓞⓢⓣ',
  '%6c%6Fcalhost',
  'localhost%2e',
  'localhost。',
  'lo\u200bcalhost',
  'lo\tcalhost',
  'localhoſt',
  '\u2060localhost',
  'localhost\uff0e',
];

const key = 'nothing-but-a-key';

const guide = `
@id("no-keys")
forbid (principal, action in [Action::"file.read", Action::"file.write"], resource is File)
when { resource.path like "*.pem" };
`;
const formerGuide = `
@id("no-keys")
forbid (principal, action == Action::"tool.execute", resource)
when { context.arguments has path && context.arguments.path like "*.pem" };
`;

async function sessionOf(victim: Victim, agent: string, headers?: Record<string, string>): Promise<string> {
  const { status, body, text } = await victim.call('POST', '/v1/sessions', { agent }, headers);
  expect(status, text).toBe(201);
  return body.id;
}

describe.each(await databases())('policies hold on %s', (database) => {
  describe('for hosts', () => {
    let victim: Victim;
    let target: Target;
    let other: Target;
    beforeAll(async () => {
      target = await startTarget(() => ({ status: 200 }));
      other = await startTarget((path) => ({ status: 302, location: decodeURIComponent(path.slice(1)) }));
      victim = await startVictim({
        database,
        config: { httpFetch: { allowPrivate: ['127.0.0.0/8', '::/0', 'localhost', '127.0.0.1'] } },
        files: {
          'data/policies/hosts.cedar': `
            @id("entity") forbid (principal == Agent::"entity", action == Action::"net.egress", resource == Host::"127.0.0.1");
            @id("entity-name") forbid (principal == Agent::"entity", action == Action::"net.egress", resource == Host::"localhost");
            @id("like") forbid (principal == Agent::"like", action == Action::"net.egress", resource) when { resource.name like "127.*" };
            @id("like-name") forbid (principal == Agent::"like", action == Action::"net.egress", resource) when { resource.authority like "localhost:*" };
            @id("only-hops") forbid (principal == Agent::"hops", action == Action::"net.egress", resource) when { resource has port && resource.port == ${target.port} };
          `,
        },
      });
      for (const name of ['entity', 'like', 'hops']) await victim.agent(name);
      await victim.agent('short', { policy: { allow: ['*', 'net:*'], deny: ['net:127.0.0.1', 'net:localhost'] } });
      await victim.agent('asks', { policy: { allow: ['*', 'net:*'], approve: ['http_fetch'] } });
      await victim.agent('free');
    });
    afterAll(async () => {
      await victim.close();
      await target.close();
      await other.close();
    });

    const sessions = new Map<string, Promise<string>>();
    const fetchAs = async (agent: string, url: string, more: Record<string, unknown> = {}) => {
      const opened = sessions.get(agent) ?? sessionOf(victim, agent);
      sessions.set(agent, opened);
      return (await victim.call('POST', '/v1/tools/http_fetch/execute', { sessionId: await opened, input: { url, ...more } })).text;
    };

    it('reaches the host where nothing denies it, so that the rest shows something', async () => {
      expect(await fetchAs('free', `http://127.0.0.1:${target.port}/`)).toContain('canary-of-the-host');
      expect(await fetchAs('free', `http://[::ffff:127.0.0.1]:${target.port}/`)).toContain('canary-of-the-host');
    });

    it.each(['entity', 'like', 'short', 'asks'])(
      'denies a host in every spelling, by %s [verifies hostile.policy.hosts]',
      async (agent) => {
        const before = target.connections();
        for (const host of [...loopback, ...named]) {
          expect(await fetchAs(agent, `http://${host}:${target.port}/`), host).not.toContain('canary-of-the-host');
          expect(
            await fetchAs(agent, `http://${host}:${other.port}/${encodeURIComponent(`http://${host}:${target.port}/`)}`),
          ).not.toContain('canary');
        }
        expect(target.connections()).toBe(before);
      },
    );

    it('asks about each hop, and lets no header go along that may hold a secret [verifies hostile.policy.redirects]', async () => {
      const secrets = {
        authorization: 'Bearer s',
        cookie: 'c=s',
        'x-api-key': 's',
        'x-auth-token': 's',
        'api-key': 's',
        'private-token': 's',
        'X-Custom': 's',
      };
      const to = `http://127.0.0.1:${other.port}/${encodeURIComponent(`http://127.0.0.1:${target.port}/hop`)}`;
      target.seen.length = 0;
      expect(await fetchAs('free', to, { headers: { ...secrets, accept: 'text/plain' } })).toContain('canary-of-the-host');
      expect(other.seen.at(-1)?.headers).toMatchObject({ 'x-api-key': 's', 'x-custom': 's' });
      expect(target.seen.at(-1)?.headers).toMatchObject({ accept: 'text/plain' });
      for (const name of Object.keys(secrets)) expect(target.seen.at(-1)?.headers).not.toHaveProperty(name.toLowerCase());
      const before = target.connections();
      expect(await fetchAs('hops', to)).toContain('policy_denied');
      expect(target.connections()).toBe(before);
    });
  });

  describe.each([
    { way: 'on files', policy: guide },
    { way: 'on the argument path, as the guide once had it', policy: formerGuide },
  ])('for files, by a rule $way', ({ policy }) => {
    let victim: Victim;
    let sessionId: string;
    beforeAll(async () => {
      victim = await startVictim({
        database,
        files: {
          'data/policies/keys.cedar': policy,
          'seed/keys/server.pem': key,
          'seed/keys/deep/er/a.pem': key,
          'seed/.pem': key,
          'seed/notes.txt': 'plain words',
          'seed/keys/readme.txt': 'other words',
        },
        config: { workspaceSeed: 'seed' },
      });
      await victim.agent('reader');
      await victim.agent('parent', { subagents: ['reader'] });
      await victim.agent('asking', { policy: { allow: ['*'], approve: ['fs_read', 'code_js'] } });
      sessionId = await sessionOf(victim, 'reader');
    });
    afterAll(() => victim.close());

    const direct = async (tool: string, input: Record<string, unknown>) =>
      (await victim.call('POST', `/v1/tools/${tool}/execute`, { sessionId, input })).text;
    const call = (tool: string, input: Record<string, unknown>) => {
      const named = Object.entries(input).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
      return `[[sim tools=${tool}(${named.join(' ')})]]`;
    };
    const eventsOf = async (runId: string) => {
      const { status, text } = await victim.call('GET', `/v1/runs/${runId}/events?limit=1000`);
      expect([status, text]).toEqual([200, expect.stringContaining('tool.requested')]);
      return text;
    };
    /** All that a run says and writes. */
    const ran = async (agent: string, input: string) => {
      const runId = await victim.start({ agent, input });
      const { status } = await victim.end(runId);
      return { runId, status, text: await eventsOf(runId) };
    };

    it('reads no key by any tool, named by an argument or not [verifies hostile.policy.files]', async () => {
      const spellings = [
        'keys/server.pem',
        './keys/server.pem',
        'keys//server.pem',
        'keys/../keys/server.pem',
        'keys\\server.pem',
        'keys/server.pem/',
        '/keys/server.pem',
        'keys/server.pem\0',
        'keys/server.pem\0.txt',
        'keys/deep/er/a.pem',
        '.pem',
        'keys/server.PEM',
        'KEYS/server.pem',
        'keys/ser\u00advver.pem',
      ];
      for (const path of spellings) {
        expect(await direct('fs_read', { path }), path).not.toContain(key);
        expect(await direct('code_js', { code: 'JSON.stringify(files)', files: ['notes.txt', path] }), path).not.toContain(key);
        expect(await direct('fs_search', { query: 'a-key', path }), path).not.toContain(key);
      }
      for (const input of [{}, { path: 'keys' }, { path: 'keys/' }, { pattern: '*.pem' }, { pattern: '*' }, { path: 'keys/deep' }])
        expect(await direct('fs_search', { query: 'a-key', ...input })).not.toContain(key);
      expect(await direct('fs_search', { query: 'words' })).toMatch(/notes\.txt:1: plain words.*3 files were not searched, for policy/s);
      expect(await direct('code_js', { code: 'files["notes.txt"]', files: ['notes.txt'] })).toContain('plain words');
    });

    it('and none is written', async () => {
      expect(await direct('fs_write', { path: 'keys/new.pem', content: 'x' })).toContain('policy_denied');
      expect(await direct('fs_write', { path: 'keys/new.txt', content: 'x' })).toContain('wrote 1 bytes');
      expect(await direct('fs_list', { path: 'keys' })).not.toContain('new.pem');
    });

    it('nor in a run, by a sub-agent, or after an approval of another file', async () => {
      for (const text of [call('fs_search', { query: 'a-key' }), call('fs_read', { path: 'keys/server.pem' })]) {
        const { text: events } = await ran('reader', text);
        expect(events).not.toContain(key);
      }
      const task = call('fs_search', { query: 'a-key' }).replaceAll('"', "'");
      const child = await ran('parent', `[[sim tools=agent_reader(task="${task}")]]`);
      expect(child.text).toContain('agent_reader');
      expect(child.text).not.toContain(key);
      const { runId, status } = await ran('asking', call('fs_read', { path: 'notes.txt' }));
      expect(status).toBe('waiting');
      const { body } = await victim.call('GET', '/v1/approvals?status=pending');
      await victim.call('POST', `/v1/approvals/${body.data[0].id}`, { decision: 'approve', arguments: { path: 'keys/server.pem' } });
      await victim.call('POST', `/v1/approvals/${body.data[0].id}`, { decision: 'approve' });
      // A rule on files is asked when the call runs, one on arguments at the answer, after which the question stays.
      await expect.poll(() => eventsOf(runId), { timeout: 10_000 }).toContain(policy === guide ? 'policy_denied' : 'plain words');
      expect(await eventsOf(runId)).not.toContain(key);
    });

    it('and each refusal is in the records', async () => {
      const { runId } = await ran('reader', call('fs_search', { query: 'a-key' }));
      const { body } = await victim.call('GET', `/v1/runs/${runId}/decisions`);
      const denied = body.data.filter(({ effect }: { effect: string }) => effect === 'deny');
      expect(denied).toHaveLength(3);
      expect(denied[0].reasons).toEqual(['operator:keys.cedar:no-keys']);
    });
  });

  describe('for tenants', () => {
    let victim: Victim;
    let target: Target;
    const as = async (scopes: readonly string[], tenant: string) => ({ authorization: `Bearer ${await victim.key(scopes, tenant)}` });
    let acme: Record<string, string>;
    beforeAll(async () => {
      target = await startTarget(() => ({ status: 200 }));
      victim = await startVictim({
        database,
        config: { httpFetch: { allowPrivate: ['127.0.0.0/8'] } },
        files: {
          'data/policies/trust.cedar': `
            @id("analyst") permit (principal == Agent::"analyst", action, resource) when { !(resource is Model) && !(resource is Agent) };
            @id("name") permit (principal is Agent, action == Action::"net.egress", resource) when { principal.name == "analyst" };
            @id("basics") permit (principal is Agent, action == Action::"tool.execute", resource) when { principal.tenant == "acme" && resource is Tool && ["fs_read", "fs_list", "http_fetch"].contains(resource.name) };
            @id("granted") permit (principal == Agent::"globex/partner", action == Action::"net.egress", resource == Host::"127.0.0.1");
            @id("granted-fetch") permit (principal == Agent::"globex/partner", action == Action::"tool.execute", resource == Tool::"http_fetch");
          `,
        },
      });
      acme = await as(['runs', 'approvals', 'admin'], 'acme');
      await victim.agent('analyst', { policy: {} });
    });
    afterAll(async () => {
      await victim.close();
      await target.close();
    });

    const agentOf = async (name: string, definition: Record<string, unknown>, headers: Record<string, string>) => {
      const stored = { name, models: ['sim/sim-large'], tools: ['*'], policy: { allow: ['*', 'net:*', 'model:*'] }, ...definition };
      expect((await victim.call('POST', '/v1/agents', stored, headers)).status).toBeLessThan(300);
      return sessionOf(victim, name, headers);
    };
    const execute = async (sessionId: string, tool: string, input: Record<string, unknown>, headers?: Record<string, string>) =>
      (await victim.call('POST', `/v1/tools/${tool}/execute`, { sessionId, input }, headers)).text;

    it("what a tenant's agent allows is no permit, and the name that the operator trusts is not theirs [verifies hostile.policy.permits]", async () => {
      const url = `http://127.0.0.1:${target.port}/`;
      const mine = await sessionOf(victim, 'analyst');
      expect(await execute(mine, 'http_fetch', { url })).toContain('canary-of-the-host');
      const before = target.connections();
      for (const policy of [{}, { allow: ['*', 'net:*'] }, { allow: ['*'], approve: ['net_*'] }, { approve: ['*'] }]) {
        const theirs = await agentOf('analyst', { policy }, acme);
        expect(await execute(theirs, 'http_fetch', { url }, acme)).toContain('policy');
        expect(await execute(theirs, 'fs_write', { path: 'a', content: 'x' }, acme)).toContain('policy');
      }
      expect(target.connections()).toBe(before);
      // What the operator permits to the tenant and its agent asks for.
      const plain = await agentOf('plain', { policy: { allow: ['fs_list'] } }, acme);
      expect(await execute(plain, 'fs_list', {}, acme)).toContain('[the folder is empty]');
      expect(await execute(plain, 'fs_read', { path: 'a' }, acme)).toContain('agent:allow:tool');
      // By its whole name.
      const globex = await as(['runs', 'admin'], 'globex');
      const partner = await agentOf('partner', {}, globex);
      expect(await execute(partner, 'http_fetch', { url }, globex)).toContain('canary-of-the-host');
      expect(await execute(await agentOf('other', {}, globex), 'http_fetch', { url }, globex)).toContain('policy');
    });

    it('a tenant neither raises nor removes what an owner limits, and the owner does [verifies hostile.policy.limits]', async () => {
      const limit = (scope: string, amount: number | null, more = {}) => {
        const [kind, id] = scope.split(':');
        return { scope: { kind, id }, unit: 'tokens', limit: amount, ...more };
      };
      const put = async (body: unknown, headers?: Record<string, string>) =>
        (await victim.call('PUT', '/v1/budgets', body, headers)).status;
      expect(await put(limit('tenant:acme', 1_000))).toBe(200);
      expect(await put(limit('user:*', 50, { tenant: 'acme' }))).toBe(200);
      for (const amount of [1_001, null, 9_000_000]) expect(await put(limit('tenant:acme', amount), acme)).toBe(403);
      for (const amount of [51, null]) expect(await put(limit('user:ann', amount), acme)).toBe(403);
      for (const amount of [51, null]) expect(await put(limit('user:*', amount), acme)).toBe(403);
      const gone = await victim.call('DELETE', '/v1/budgets?scope=tenant:acme&unit=tokens', undefined, acme);
      expect([gone.status, gone.body.detail]).toEqual([403, expect.stringContaining('an owner set')]);
      expect(await put(limit('tenant:acme', 400), acme)).toBe(200);
      expect(await put(limit('user:ann', 20), acme)).toBe(200);
      expect(await put(limit('tenant:acme', 500), acme)).toBe(403);
      expect(await put(limit('tenant:globex', 1), acme)).toBe(404);
      expect(await put(limit('user:ann', 1, { tenant: 'globex' }), acme)).toBe(403);
      expect(await put(limit('tenant:nobody', 1))).toBe(404);
      expect(await put(limit('tenant:acme', 2_000))).toBe(200);
      const { body } = await victim.call('GET', '/v1/budgets?scope=tenant:acme', undefined, acme);
      expect(body.data).toMatchObject([{ limit: 2_000, owned: true }]);
      expect((await victim.call('GET', '/v1/budgets?tenant=default', undefined, acme)).status).toBe(403);
      expect((await victim.call('POST', '/v1/definitions/policies/import', {}, acme)).status).toBe(403);
    });

    it('a key does not allow what it asked for, unless that is granted to it [verifies hostile.policy.own-approvals]', async () => {
      const make = async (scopes: string[], roles: string[]) => {
        const { body, text } = await victim.call('POST', '/v1/keys', { name: 'k', scopes, roles });
        expect(body.secret, text).toBeDefined();
        return { authorization: `Bearer ${body.secret}` };
      };
      await victim.agent('asking', { policy: { allow: ['*'], approve: ['fs_*'] } });
      const [asker, second, trusted, runsOnly] = await Promise.all([
        make(['runs', 'approvals'], []),
        make(['approvals'], []),
        make(['runs', 'approvals'], ['own-approvals']),
        make(['runs'], []),
      ]);
      const waiting = async (headers: Record<string, string> | undefined) => {
        const runId = await victim.start({ agent: 'asking', input: '[[sim tools=fs_list()]] [[sim say="over"]]' }, headers);
        expect((await victim.end(runId)).status).toBe('waiting');
        const { body } = await victim.call('GET', '/v1/approvals?status=pending');
        return `/v1/approvals/${body.data.find((one: { runId: string }) => one.runId === runId).id}`;
      };
      const theirs = await waiting(asker);
      const refused = await victim.call('POST', theirs, { decision: 'approve' }, asker);
      expect([refused.status, refused.body.detail]).toEqual([403, expect.stringContaining('another key with the scope approvals can')]);
      expect((await victim.call('POST', theirs, { decision: 'approve' }, runsOnly)).status).toBe(403);
      const four = await Promise.all([1, 2, 3, 4].map(() => victim.call('POST', theirs, { decision: 'approve' }, second)));
      expect(four.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409]);
      expect((await victim.call('POST', await waiting(asker), { decision: 'deny' }, asker)).status).toBe(200);
      expect((await victim.call('POST', await waiting(trusted), { decision: 'approve' }, trusted)).status).toBe(200);
      expect((await victim.call('POST', await waiting(undefined), { decision: 'approve' })).status).toBe(200);
      const escalation = await victim.call('POST', '/v1/keys', { name: 'k', scopes: ['approvals'], roles: ['own-approvals'] }, acme);
      expect(escalation.status).toBe(403);
    });
  });
});
