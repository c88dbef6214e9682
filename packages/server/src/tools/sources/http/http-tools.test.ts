import type { RequestListener } from 'node:http';
import { HttpToolSource } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemTimers } from '#core';
import { type CallOptions, type ToolInput, useServer } from './http-tools.testkit.ts';
import { makeRequest } from './make-request.ts';
import { planRequest } from './plan.ts';

const api = useServer();

describe('the request', () => {
  it('is made of the arguments: path, query, headers and body [verifies tools.http.request]', async () => {
    const tool: ToolInput = {
      method: 'POST',
      path: '/repos/{owner}/issues',
      query: { state: '{state}', tag: '{tags}', ids: { value: '{ids}', list: 'comma' }, per_page: '50', gone: '{gone}' },
      headers: { 'X-Trace': 'run-{owner}' },
      body: { type: 'json', fields: { title: 'title', 'labels[]': 'tags' } },
    };
    expect(await api.call(tool, { owner: 'ada', state: 'open', tags: ['a', 'b c'], ids: ['1', '2'], title: 'x "y"' })).toBe('{"ok":true}');
    expect(api.reached).toMatchObject([
      {
        method: 'POST',
        url: '/v1/repos/ada/issues?state=open&tag=a&tag=b%20c&ids=1%2C2&per_page=50',
        headers: { 'x-trace': 'run-ada', 'content-type': 'application/json', 'idempotency-key': 'run_1/call_1' },
        body: '{"title":"x \\"y\\"","labels[]":["a","b c"]}',
      },
    ]);
  });

  it.each([
    ['a/b', 'a%2Fb'],
    ['../../admin', '..%2F..%2Fadmin'],
    ['a?b=c#d', 'a%3Fb%3Dc%23d'],
    ['%2e%2e', '%252e%252e'],
    ['..%2f', '..%252f'],
    ['a\\b', 'a%5Cb'],
    ['a;b,c@d:e', 'a%3Bb%2Cc%40d%3Ae'],
    ["!'()*", '%21%27%28%29%2A'],
    ['a\r\nb', 'a%0D%0Ab'],
    ['猫', '%E7%8C%AB'],
    ['...', '...'],
  ])('keeps %j in its segment of the path [verifies tools.http.request]', async (id, written) => {
    await api.call({ path: '/pets/{id}/photos' }, { id });
    expect(api.reached.map(({ url }) => url)).toEqual([`/v1/pets/${written}/photos`]);
  });

  it.each(['.', '..', ''])('refuses %j as a segment, which servers read as another path [verifies tools.http.request]', async (id) => {
    expect(await api.call({ path: '/pets/{id}' }, { id })).toMatch(/^tool_input_invalid: .*nothing was sent/);
    expect(await api.call({ path: '/pets/.{id}' }, { id: id.slice(1) || '.' })).toMatch(/^tool_input_invalid/);
    expect(api.reached).toEqual([]);
  });

  it('keeps any text apart, wherever it stands [verifies tools.http.request]', () => {
    const source = HttpToolSource.parse({
      name: 'api',
      baseUrl: 'http://a.test/v1',
      tools: [{ name: 'probe', description: 'x', path: '/a/{x}/b', query: { q: '{x}' } }],
    });
    const plans = source.tools.map((tool) => planRequest(source, tool));
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (x) => {
        if (x === '.' || x === '..') return;
        for (const plan of plans) {
          const { url, target } = makeRequest(plan, { x }, () => '');
          expect(url.pathname + url.search).toBe(target);
          expect(url.host).toBe('a.test');
          const segments = url.pathname.split('/');
          expect(segments.toSpliced(3, 1)).toEqual(['', 'v1', 'a', 'b']);
          expect(decodeURIComponent(segments[3] ?? '')).toBe(x.toWellFormed());
          expect([...url.searchParams]).toEqual([['q', x.toWellFormed()]]);
        }
      }),
    );
  });

  it('never leaves its host, whatever its path begins with', async () => {
    expect(await api.call({ path: '//evil.example/x' })).toBe('{"ok":true}');
    expect(api.reached.map(({ url, headers }) => [url, headers.host])).toEqual([['/v1//evil.example/x', `127.0.0.1:${api.port}`]]);
    expect(await api.call({ path: '//evil.example/x' }, {}, { source: { baseUrl: `http://127.0.0.1:${api.port}` } })).toBe('{"ok":true}');
    expect(api.reached.at(-1)).toMatchObject({ url: '//evil.example/x', headers: { host: `127.0.0.1:${api.port}` } });
  });

  it('takes no second header, field or parameter from an argument', async () => {
    const tool: ToolInput = { path: '/a', headers: { 'x-who': '{who}' } };
    expect(await api.call(tool, { who: 'ada\r\nx-admin: 1' })).toMatch(/^tool_input_invalid: the header x-who/);
    expect(await api.call({ method: 'POST', path: '/a', body: { type: 'form' } }, { a: '1&b=2', c: ['x', 'y'] })).toBe('{"ok":true}');
    expect(api.reached).toMatchObject([{ body: 'a=1%26b%3D2&c=x&c=y' }]);
  });

  it('sends texts, and no body where nothing of it is given', async () => {
    await api.call({ method: 'PUT', path: '/a', body: { type: 'text', argument: 'note' } }, { note: 'grüße' });
    await api.call({ method: 'POST', path: '/a', body: { type: 'json', fields: { a: 'a' } } }, {});
    expect(api.reached).toMatchObject([{ body: 'grüße' }, { body: '' }]);
    expect(api.reached[1]?.headers['content-type']).toBeUndefined();
  });

  it('has names of Object.prototype as plain arguments', async () => {
    const input = JSON.parse('{"constructor":"c","__proto__":{"x":1},"toString":"t"}');
    await api.call({ method: 'POST', path: '/{constructor}', query: { v: '{valueOf}' }, body: { type: 'json' } }, input);
    expect(api.reached).toMatchObject([{ url: '/v1/c', body: '{"__proto__":{"x":1},"toString":"t"}' }]);
  });

  it('says what an argument has to be', async () => {
    expect(
      await api.call({ path: '/a/{id}', inputSchema: { type: 'object', properties: { id: {} }, required: ['id'] } }, { id: { a: 1 } }),
    ).toMatch(/^tool_input_invalid: "id" must be a text, a number, true or false; nothing was sent/);
  });
});

describe('effects', () => {
  it.each([
    ['GET', 'none', undefined],
    ['HEAD', 'none', undefined],
    ['PUT', 'idempotent', undefined],
    ['DELETE', 'idempotent', undefined],
    ['POST', 'once', 'run_1/call_1'],
    ['PATCH', 'once', 'run_1/call_1'],
  ] as const)('of %s are %s, unless it says so [verifies tools.http.effects]', async (method, effects, key) => {
    expect((await api.toolsOf({ method, path: '/' }))[0]).toMatchObject({
      effects,
      source: 'http:api',
      tier: 'remote',
      permissions: ['net.egress'],
    });
    expect((await api.toolsOf({ method, path: '/', effects: 'once' }))[0]).toMatchObject({ effects: 'once' });
    await api.call({ method, path: '/' });
    expect(api.reached[0]?.headers['idempotency-key']).toBe(key);
  });

  const drop: RequestListener = (request) => void request.socket.destroy();

  it('are unknown when the connection is lost after a request that may be sent once [verifies tools.http.outcome]', async () => {
    api.listener = drop;
    expect(await api.end({ method: 'POST', path: '/' })).toMatchObject({
      type: 'failed',
      error: { code: 'tool_outcome_unknown', details: { cause: 'tool_failed' } },
    });
    expect(api.reached.length).toBe(1);
    expect(await api.call({ method: 'DELETE', path: '/' })).toMatch(/^tool_failed: the connection to 127\.0\.0\.1:\d+ failed/);
    expect(api.reached.length).toBe(4); // it may be repeated, twice
  });

  it('are unknown when the answer breaks off, and when the call is told to stop meanwhile [verifies tools.http.outcome]', async () => {
    api.listener = (request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' }).write('{');
      setTimeout(() => request.socket.destroy(), 20);
    };
    expect(await api.call({ method: 'POST', path: '/' })).toMatch(/^tool_outcome_unknown/);
    api.listener = () => undefined;
    expect(await api.call({ method: 'POST', path: '/' }, {}, { timeoutMs: 100 })).toMatch(/^tool_outcome_unknown/);
    expect(await api.call({ path: '/' }, {}, { timeoutMs: 100 })).toMatch(/^tool_timeout/);
  });

  it('did not come about where certainly nothing was sent [verifies tools.http.outcome]', async () => {
    const nobody = { source: { baseUrl: 'http://127.0.0.1:1' } };
    expect(await api.call({ method: 'POST', path: '/' }, {}, nobody)).toMatch(
      /^tool_failed: the connection to 127\.0\.0\.1:1 failed \(ECONNREFUSED\)/,
    );
    const noName = { source: { baseUrl: 'http://nowhere.invalid' }, granted: false };
    expect(await api.call({ method: 'POST', path: '/' }, {}, noName)).toMatch(/^tool_failed/);
    const silent: CallOptions = { authorize: () => systemTimers.sleep(200).then(() => ({ allowed: true })), timeoutMs: 50 };
    expect(await api.call({ method: 'POST', path: '/' }, {}, silent)).toMatch(/^tool_timeout/);
    expect(api.reached).toEqual([]);
  });

  it('are known from an answer that is wrong in itself: it is told with its status', async () => {
    api.listener = (_request, response) => response.writeHead(201, { 'content-type': 'application/json' }).end('{"id":');
    expect(await api.end({ method: 'POST', path: '/' })).toMatchObject({
      error: { code: 'tool_failed', details: { reason: 'answer', status: 201 } },
    });
  });
});
