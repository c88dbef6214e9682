import { createHash } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { json, oddAnswers, writing } from './support/odd-answers.ts';
import { type Answer, call, delta, end, type StrictProvider, startStrictProvider } from './support/strict-provider.ts';
import { databases, pause, startVictim, type Victim } from './support/victim.ts';

/* What is known to have broken comparable systems, each kind tried on a server of ours. */

const longest = 2_048;
/** A path that nothing compresses, of so many bytes. */
function pathOf(bytes: number): string {
  let text = '';
  for (let piece = 0; text.length < bytes; piece++) text += createHash('sha512').update(`${bytes} ${piece}`).digest('base64url');
  return text
    .slice(0, bytes)
    .replace(/.(.{1,200})/g, '/$1')
    .slice(1)
    .padEnd(bytes, 'z');
}

const secret = 'Zq3vX8tR2pLwUn5mKd7s';

describe.each(await databases())('what is known to break others, on %s', (database) => {
  let provider: StrictProvider;
  let elsewhere: StrictProvider;
  let victim: Victim;
  let pagesPort = 0;
  let showPage: (name: string, response: ServerResponse) => void = () => undefined;
  let spans = '';
  const site = createServer((request, response) => {
    if (request.url === '/v1/traces') {
      request.setEncoding('latin1').on('data', (text) => {
        spans += text;
      });
      return void request.on('end', () => response.end('{}'));
    }
    showPage(request.url?.slice(1) ?? '', response);
  });
  const answers: Record<string, Answer> = {
    ...oddAnswers,
    'two-writes': [call('a', 'fs_write', writing('one.txt', '1')), call('b', 'fs_write', writing('two.txt', '2'), 1), end('tool_calls')],
    'path-twice': [call('a', 'fs_write', '{"path":"shown.txt","path":"run.txt","content":"x"}'), end('tool_calls')],
    'path-longest': [call('a', 'fs_write', writing(pathOf(longest))), end('tool_calls')],
    'path-longer': [call('a', 'fs_write', writing(pathOf(longest + 1))), end('tool_calls')],
    'path-far': [call('a', 'fs_write', writing(pathOf(3_900))), end('tool_calls')],
    'path-quotes': [call('a', 'fs_write', writing(`${'"'.repeat(120)}/${'"'.repeat(120)}/${'é'.repeat(100)}`)), end('tool_calls')],
    lines: [delta({ content: 'a\r\nevent: evil\rdata: {}\n\nid: 99\n\n' }), end()],
    spawns: [0, 1, 2]
      .map((index) => call(`s${index}`, 'agent_spawner', '{"task":"answer spawns"}', index))
      .concat([end('tool_calls') as never]),
  };
  beforeAll(async () => {
    [provider, elsewhere] = await Promise.all([startStrictProvider(answers), startStrictProvider({})]);
    await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
    pagesPort = (site.address() as AddressInfo).port;
    for (const status of [301, 302, 303, 307, 308])
      answers[`moved-${status}`] = json(status, {}, { location: `${elsewhere.url}/chat/completions` });
    answers['repeats-address'] = (response, request) =>
      json(400, { error: { message: `no such page: ${request.url}` } })(response, request);
    const compatible = [
      { name: 'odd', baseUrl: provider.url, models: ['m'], apiKey: 'sk-of-the-provider-1234567890' },
      { name: 'query', baseUrl: `${provider.url}?key=${secret}`, models: ['m'] },
      { name: 'gone', baseUrl: `http://127.0.0.1:1/v1?key=${secret}`, models: ['m'] },
    ];
    victim = await startVictim({
      database,
      config: {
        providers: { compatible },
        sim: { enabled: 'on' },
        llm: { maxAttempts: 2 },
        otlp: { endpoint: `http://127.0.0.1:${pagesPort}` },
        httpFetch: { allowPrivate: [`127.0.0.1:${pagesPort}`] },
      },
      files: {
        'data/agents/good.yaml': 'name: good\nmodels: [sim/sim-large]\n',
      },
    });
    await victim.agent('odd', { models: ['odd/m'], tools: ['fs_*'], maxSteps: 4 });
    await victim.agent('fetcher');
    await victim.agent('asks', { models: ['odd/m'], tools: ['fs_*'], policy: { approve: ['fs_write'] } });
    await victim.agent('spawner', { models: ['odd/m'], tools: [], subagents: ['spawner'], policy: { allow: ['agent_spawner'] } });
    for (const name of ['query', 'gone']) await victim.agent(name, { models: [`${name}/m`], tools: [] });
  });
  afterAll(async () => {
    await victim?.close();
    provider?.close();
    elsewhere?.close();
    site.closeAllConnections();
    site.close();
  });

  const open = async (agent: string, headers?: Readonly<Record<string, string>>): Promise<string> =>
    (await victim.call('POST', '/v1/sessions', { agent }, headers)).body.id;
  const run = async (sessionId: string, input: string) => victim.end(await victim.start({ sessionId, input }));
  /** The run once it has ended for good, through whatever it waits for. */
  const settled = async (id: string) => {
    const view = async () => (await victim.call('GET', `/v1/runs/${id}`)).body;
    await expect.poll(async () => (await view()).status, { timeout: 20_000 }).toMatch(/completed|failed|cancelled/);
    return view();
  };
  const pending = async (runId: string) =>
    (await victim.call('GET', '/v1/approvals')).body.data.filter((each: { runId: string }) => each.runId === runId);
  const files = async (sessionId: string): Promise<string[]> => {
    const paths: string[] = [];
    let cursor = '';
    do {
      const page = await victim.call('GET', `/v1/sessions/${sessionId}/files?limit=1${cursor}`);
      expect(page.status, page.text).toBe(200);
      paths.push(...page.body.data.map(({ path }: { path: string }) => path));
      cursor = page.body.nextCursor === null ? '' : `&cursor=${encodeURIComponent(page.body.nextCursor)}`;
    } while (cursor !== '');
    return paths;
  };

  it('a session goes on after whatever a provider answered [verifies hostile.known.sessions]', async () => {
    const names = Object.keys(oddAnswers);
    const wrong: unknown[] = [];
    const tryOne = async (name: string) => {
      const sessionId = await open('odd');
      const first = await run(sessionId, `answer ${name}`);
      const next = await run(sessionId, 'and now?');
      const counts = Object.values(first.totals ?? {}) as number[];
      const fits = ['completed', 'failed'].includes(first.status) && counts.every((count) => Number.isSafeInteger(count) && count >= 0);
      const code = first.error?.code ?? '';
      if (!fits || !/^(provider_\w+|output_invalid|loop_detected|)$/.test(code) || next.status !== 'completed')
        wrong.push({ name, first: [first.status, first.error, first.totals], next: [next.status, next.error] });
    };
    for (let at = 0; at < names.length; at += 8) await Promise.all(names.slice(at, at + 8).map(tryOne));
    expect(wrong).toEqual([]);
    expect(provider.refused).toEqual([]);
    expect(victim.exited(), victim.output().slice(-2_000)).toBeNull();
  });

  it('calls with the same id, or none, have each their own result [verifies hostile.known.sessions]', async () => {
    for (const [name, expected] of [
      ['ids-same', ['1.txt', '2.txt']],
      ['ids-none', ['3.txt', '4.txt']],
    ] as const) {
      const sessionId = await open('odd');
      await run(sessionId, `answer ${name}`);
      expect(await files(sessionId)).toEqual(expected);
    }
  });

  it('who allows one of two calls allows that one, once [verifies hostile.known.approvals]', async () => {
    const sessionId = await open('asks');
    const { id } = await run(sessionId, 'answer two-writes');
    const asked = await pending(id);
    expect(asked).toHaveLength(2);
    const stranger = { authorization: `Bearer ${await victim.key(['runs', 'approvals', 'admin'], 'stranger')}` };
    for (const [method, path, body] of [
      ['GET', `/v1/approvals/${asked[0].id}`, undefined],
      ['POST', `/v1/approvals/${asked[0].id}`, { decision: 'approve' }],
      ['POST', `/v1/runs/${id}/resume`, {}],
      ['POST', `/v1/runs/${id}/cancel`, {}],
      ['POST', `/v1/runs/${id}/fork`, {}],
      ['GET', `/v1/runs/${id}/events`, undefined],
      ['GET', `/v1/sessions/${sessionId}/files`, undefined],
    ] as const)
      expect((await victim.call(method, path, body, stranger)).status, path).toBe(404);
    const one = asked.find((each: { arguments: { path: string } }) => each.arguments.path === 'one.txt');
    const answered = await Promise.all(
      Array.from({ length: 8 }, (_, index) => victim.call('POST', `/v1/approvals/${one.id}`, { decision: index % 2 ? 'deny' : 'approve' })),
    );
    expect(answered.map(({ status }) => status).sort()).toEqual([200, ...Array(7).fill(409)]);
    await pause(300);
    expect(await files(sessionId)).not.toContain('two.txt');
    const other = asked.find((each: { id: string }) => each.id !== one.id);
    await victim.call('POST', `/v1/approvals/${other.id}`, { decision: 'deny' });
    const ended = await settled(id);
    expect(ended.status).toBe('completed');
    expect(await files(sessionId)).not.toContain('two.txt');
    const { body } = await victim.call('GET', `/v1/runs/${id}/events?limit=200`, undefined, { accept: 'application/json' });
    const decided = body.data.filter((event: { type: string }) => event.type === 'approval.decided');
    expect(decided).toHaveLength(2);
  });

  it('arguments that name a thing twice are shown as they run [verifies hostile.known.approvals]', async () => {
    const sessionId = await open('asks');
    const { id } = await run(sessionId, 'answer path-twice');
    const [asked] = await pending(id);
    expect(asked.arguments).toEqual({ path: 'run.txt', content: 'x' });
    await victim.call('POST', `/v1/approvals/${asked.id}`, { decision: 'approve' });
    expect((await settled(id)).status).toBe('completed');
    expect(await files(sessionId)).toEqual(['run.txt']);
  });

  it('a path as long as paths may be is kept and listed, and a longer one is refused to its call alone [verifies hostile.known.long-names]', async () => {
    const sessionId = await open('odd');
    const beside = Array.from({ length: 4 }, async () => run(await open('odd'), 'hello'));
    for (const name of ['path-longest', 'path-longer', 'path-far', 'path-quotes']) {
      const ended = await run(sessionId, `answer ${name}`);
      expect(ended.status, name).toBe('completed');
    }
    expect((await Promise.all(beside)).map(({ status }) => status)).toEqual(Array(4).fill('completed'));
    expect((await files(sessionId)).map((path) => Buffer.byteLength(path))).toEqual([442, longest]);
    expect((await victim.call('GET', '/readyz')).status).toBe(200);
  });

  it('a long list is read to its end, whatever its names are [verifies hostile.known.long-names]', async () => {
    const users = ['あ', 'い', 'う'].map((sign) => sign.repeat(200));
    for (const id of users)
      expect(
        (await victim.call('PUT', '/v1/budgets', { scope: { kind: 'user', id }, unit: 'tokens', window: 'day', limit: 5 })).status,
      ).toBeLessThan(300);
    const found: string[] = [];
    for (let cursor = ''; ; ) {
      const page = await victim.call('GET', `/v1/budgets?limit=1${cursor}`);
      expect(page.status, page.text).toBe(200);
      found.push(...page.body.data.map((each: { scope: { id: string } }) => each.scope.id));
      if (page.body.nextCursor === null) break;
      cursor = `&cursor=${encodeURIComponent(page.body.nextCursor)}`;
    }
    for (const id of users) expect(found).toContain(id);
  });

  it('a provider that moves away is not followed with the key [verifies hostile.known.key]', async () => {
    for (const status of [301, 302, 303, 307, 308]) {
      const ended = await run(await open('odd'), `answer moved-${status}`);
      expect(ended).toMatchObject({ status: 'failed', error: { code: expect.stringMatching(/^provider_/) } });
    }
    expect(elsewhere.asked).toEqual([]);
  });

  it('a key in the query of an address is shown by no error, list, log, metric or span [verifies hostile.known.key]', async () => {
    const runs = [await run(await open('query'), 'answer repeats-address'), await run(await open('gone'), 'hello')];
    const shown = [JSON.stringify(runs), victim.output()];
    for (const { id } of runs) shown.push((await victim.call('GET', `/v1/runs/${id}/events?limit=200`)).text);
    for (const path of ['/v1/models', '/metrics', '/openapi.json', '/healthz']) shown.push((await victim.call('GET', path)).text);
    expect(provider.asked.some(({ path }) => path.includes(secret))).toBe(true);
    await expect.poll(() => spans, { timeout: 15_000 }).toContain(runs[1].id);
    shown.push(spans);
    for (const text of shown) expect(text).not.toContain(secret.slice(2, -2));
  });

  it('a repeated key of a request gives nobody else’s answer [verifies hostile.known.callers]', async () => {
    const keys = [await victim.key(['runs'], 'acme'), await victim.key(['runs'], 'acme'), await victim.key(['runs'], 'other')];
    const made = await Promise.all(
      keys.map((key) => victim.call('POST', '/v1/sessions', {}, { authorization: `Bearer ${key}`, 'idempotency-key': 'the-same' })),
    );
    const ids = made.filter(({ status }) => status < 300).map(({ body }) => body.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(made[2]?.status).toBe(201);
  });

  it('no odd place in a list or a stream is an error of ours, nor begins it anew [verifies hostile.known.places]', async () => {
    const { id } = await run(await open('odd'), 'hello');
    const code = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
    const places = [
      null,
      1,
      'x',
      [],
      [1],
      ['x'],
      [1, 'x'],
      ['x', 1],
      [2 ** 53, 'x'],
      [1e308, 'x'],
      [-1, ''],
      ['\u0000', 'x'],
      [1, '\ud800'],
      [1, "x' or 1=1--"],
      { length: 2, 0: 1, 1: 'x' },
      '[1',
      '['.repeat(2_000),
    ];
    const lists = [
      '/v1/runs',
      '/v1/sessions',
      '/v1/agents',
      '/v1/keys',
      '/v1/approvals',
      '/v1/budgets',
      `/v1/runs/${id}/decisions`,
      '/v1/usage',
    ];
    for (const list of lists) {
      for (const place of places) {
        const { status, text } = await victim.call('GET', `${list}?cursor=${encodeURIComponent(code(place))}`);
        expect([200, 400, 404], `${list} ${JSON.stringify(place)} ${text}`).toContain(status);
      }
      for (const limit of ['-1', '1e9', '0x10', '１', '2.5', 'NaN', '9'.repeat(400)])
        expect((await victim.call('GET', `${list}?limit=${encodeURIComponent(limit)}`)).status, `${list} ${limit}`).toBeOneOf([200, 400]);
    }
    for (const place of ['-1', 'NaN', '1e3', '0x1', '1.2.3', '9'.repeat(30), ' 5', '٣', '999999999999999', '5.999999999']) {
      const headers = { accept: 'text/event-stream', 'last-event-id': Buffer.from(place).toString('latin1') };
      const answer = await fetch(`${victim.url}/v1/runs/${id}/events`, { headers });
      expect(answer.status === 400 || answer.status === 204 || !(await answer.text()).includes('run.created'), place).toBe(true);
    }
  });

  it('a body is what its type says, in whatever way that is written [verifies hostile.known.places]', async () => {
    const before = (await victim.call('GET', '/v1/runs?limit=200')).body.data.length;
    const types = [
      'application/json\t; x',
      'application/json foo',
      'APPLICATION/JSON',
      'text/plain',
      'application/json; charset=utf-16',
      'application/ld+json',
      'application/json,text/plain',
      '',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/json; charset="',
      'application/json;;;',
    ];
    for (const type of types) {
      const { status, text } = await victim.call('POST', '/v1/runs', '{"bogus":1}', { 'content-type': type });
      expect([400, 415], `${type}: ${text}`).toContain(status);
    }
    expect((await victim.call('GET', '/v1/runs?limit=200')).body.data.length).toBe(before);
  });

  it('lines that a model writes are no lines of its stream [verifies hostile.known.places]', async () => {
    const { id } = await run(await open('odd'), 'answer lines');
    const text = await (await fetch(`${victim.url}/v1/runs/${id}/events`, { headers: { accept: 'text/event-stream' } })).text();
    expect(text).toContain('evil');
    for (const line of text.split(/\r\n|\r|\n/))
      expect(line).toMatch(/^($|:|id: [\d.]+$|event: (run|model|message|step|tool|budget|policy|context)\.|data: \{)/);
  });

  it('a definition that blows up, or names what objects inherit, changes nothing and is named [verifies hostile.known.bounded]', async () => {
    const names = [...'abcdefgh'];
    const bomb = names.map((name, at) => `${name}: &${name} [${(at === 0 ? 'x,' : `*${names[at - 1]},`).repeat(9)}]\n`).join('');
    for (const [file, text] of [
      ['bomb.yaml', `${bomb}name: bomb\n`],
      ['proto.yaml', '__proto__: { name: proto }\nconstructor: { prototype: { polluted: 1 } }\nname: proto\n'],
      ['deep.yaml', `name: deep\noutputSchema: ${'{properties: {a: '.repeat(2_000)}{}${'}}'.repeat(2_000)}\n`],
    ] as const) {
      const path = join(victim.dataDir, 'agents', file);
      writeFileSync(path, text);
      await expect.poll(() => victim.output(), { timeout: 10_000 }).toContain(file);
      expect((await victim.call('GET', '/v1/agents/good')).status).toBe(200);
      expect((await victim.call('GET', `/v1/agents/${file.slice(0, -5)}`)).status).toBe(404);
      rmSync(path);
    }
  });

  it('a page that answers oddly fails its own fetch, in words [verifies hostile.known.pages]', async () => {
    const places = [
      'http://[',
      'file:///etc/passwd',
      '//user:pw@127.0.0.1:1/',
      'javascript:1',
      'http://127.0.0.1:99999/',
      '',
      '/loop',
      'http://[64:ff9b::7f00:1]/',
      'http://[2002:7f00:1::]/',
      'http://[::127.0.0.1]/',
      'data:text/plain,x',
      'http://\u00ff/',
    ];
    const pages: Record<string, (response: ServerResponse) => unknown> = {
      charset: (response) => response.writeHead(200, { 'content-type': 'text/plain; charset=no-such' }).end('plain text'),
      binary: (response) =>
        response.writeHead(200, { 'content-type': 'text/plain; charset=utf-16le' }).end(Buffer.from([0, 0xd8, 0, 0xd8, 1])),
      gzip: (response) => response.writeHead(200, { 'content-encoding': 'gzip', 'content-type': 'text/plain' }).end('no gzip'),
      short: (response) =>
        response.writeHead(200, { 'content-length': '1000', 'content-type': 'text/plain' }).write('x', () => response.destroy()),
      twice: (response) => response.socket?.end('HTTP/1.1 302 Found\r\nlocation: /a\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n'),
      types: (response) =>
        response.socket?.end('HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi'),
      half: (response) =>
        response.writeHead(200, { 'content-type': 'text/html; charset=utf-16le' }).end(Buffer.from('<b>\ud83d</b>', 'utf16le')),
      loop: (response) => response.writeHead(302, { location: '/loop' }).end(),
      status: (response) => response.socket?.end('HTTP/1.1 099 Odd\r\n\r\n'),
      garbage: (response) => response.socket?.end('\u0000\u0001 garbage'),
      ...Object.fromEntries(
        places.map((location, index) => [
          `to${index}`,
          (response: ServerResponse) => response.socket?.end(`HTTP/1.1 302 Found\r\nlocation: ${location}\r\ncontent-length: 0\r\n\r\n`),
        ]),
      ),
    };
    showPage = (name, response) => void pages[name]?.(response);
    const sessionId = await open('fetcher');
    for (const name of Object.keys(pages)) {
      const { status, body, text } = await victim.call('POST', '/v1/tools/http_fetch/execute', {
        sessionId,
        input: { url: `http://127.0.0.1:${pagesPort}/${name}` },
      });
      expect(status, `${name}: ${text}`).toBe(200);
      expect(text, name).not.toMatch(/root:|internal/);
      expect(body).toBeDefined();
    }
  });

  it('an agent that calls itself ends at the depth that is set [verifies hostile.known.bounded]', async () => {
    const id = await victim.start({ agent: 'spawner', input: 'answer spawns' });
    expect((await settled(id)).status).toBe('completed');
    const runs = await victim.call('GET', '/v1/runs?limit=200');
    const spawned = runs.body.data.filter((each: { agent: string }) => each.agent === 'spawner');
    expect(spawned).toHaveLength(1 + 3 + 9 + 27 + 81);
  });

  if (database === 'postgres')
    it('connections that the database ends, end no process and no run [verifies hostile.known.connections]', async () => {
      const { default: pg } = await import('pg');
      const admin = new pg.Client({ connectionString: victim.databaseUrl });
      admin.on('error', () => undefined);
      await admin.connect();
      const input = `[[sim say="${'word '.repeat(20)}"]]`;
      const runs = await Promise.all(Array.from({ length: 4 }, () => victim.start({ model: 'sim/sim-large?tokensPerSecond=20', input })));
      for (let turn = 0; turn < 10; turn++) {
        await admin.query(
          'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
        );
        await pause(50);
      }
      await admin.end();
      for (const id of runs) expect(await settled(id)).toMatchObject({ status: 'completed', totals: { modelCalls: 1 } });
      expect(victim.exited()).toBeNull();
    });

  it('nothing of all this was worth a warning of Node [verifies hostile.known.sessions]', () => {
    expect(victim.exited()).toBeNull();
    expect(victim.output()).not.toMatch(/Warning|nobody caught|unexpectedly|failed inside/);
  });
});
