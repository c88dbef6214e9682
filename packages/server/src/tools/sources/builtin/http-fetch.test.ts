import { createServer, type RequestListener, type Server } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemTimers } from '#core';
import type { ResolvedAddress } from '#tools/net';
import { createTestToolService, makeToolCall, type Reader, readCall, said } from '../../testing/index.ts';
import { createHttpTools, type HttpFetchOptions } from './http-fetch.ts';

let server: Server;
let port: number;
/** What reached the server, whoever sent it. */
let reached: { url: string; headers: Record<string, unknown> }[];
let listener: RequestListener;

beforeEach(async () => {
  reached = [];
  listener = (_request, response) => response.end('hello');
  server = createServer((request, response) => {
    reached.push({ url: request.url ?? '', headers: request.headers });
    listener(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  port = typeof address === 'object' && address !== null ? address.port : 0;
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function fetchUrl(
  input: string | Record<string, unknown>,
  options: Partial<HttpFetchOptions> = {},
  reader: Reader = {},
): Promise<string> {
  const service = createTestToolService(createHttpTools({ timers: systemTimers, ...options }));
  const call = makeToolCall({ toolName: 'http_fetch', input: typeof input === 'string' ? { url: input } : input, timeoutMs: 5_000 });
  return said(await readCall(service, call, reader));
}

const answers =
  (...addresses: string[]) =>
  async (): Promise<ResolvedAddress[]> =>
    addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));

describe('what is not public', () => {
  it.each([
    'http://127.0.0.1:PORT/',
    'http://127.1:PORT/',
    'http://2130706433:PORT/',
    'http://0x7f000001:PORT/',
    'http://0177.0.0.1:PORT/',
    'http://0:PORT/',
    'http://127.0.0.1.:PORT/',
    'http://１２７.0.0.1:PORT/',
    'http://[::1]:PORT/',
    'http://[::]:PORT/',
    'http://[::ffff:127.0.0.1]:PORT/',
    'http://[::ffff:7f00:1]:PORT/',
    'http://[::127.0.0.1]:PORT/',
    'http://[64:ff9b::7f00:1]:PORT/',
    'http://[64:ff9b:1::7f00:1]:PORT/',
    'http://[2002:7f00:1::]:PORT/',
    'http://[fe80::1]:PORT/',
    'http://[fc00::1]:PORT/',
    'http://[ff02::1]:PORT/',
    'http://169.254.169.254/latest/meta-data/',
    'http://10.0.0.1/',
    'http://100.64.0.1/',
    'http://172.31.255.255/',
    'http://192.168.1.1/',
    'http://198.18.0.1/',
    'http://224.0.0.1/',
    'http://255.255.255.255/',
  ])('refuses the address in %s [verifies tools.http.private]', async (url) => {
    expect(await fetchUrl(url.replace('PORT', String(port)))).toMatch(/^address_not_allowed/);
    expect(reached).toEqual([]);
  });

  it.each(['localhost', 'localhost.', 'LOCALHOST', 'ip6-localhost'])('refuses the name %s by its addresses', async (name) => {
    expect(await fetchUrl(`http://${name}:${port}/`)).toMatch(/^(address_not_allowed|tool_failed)/);
    expect(reached).toEqual([]);
  });

  it.each([
    [['127.0.0.1']],
    [['::1']],
    [['::ffff:127.0.0.1']],
    [['64:ff9b::7f00:1']],
    [['fe80::1%lo']],
    [['203.0.113.7', '127.0.0.1']],
    [['127.0.0.1', '93.184.215.14']],
    [['not an address']],
    [[]],
  ])('refuses a name that resolves to %j [verifies tools.http.private]', async (addresses) => {
    expect(await fetchUrl(`http://example.com:${port}/`, { resolve: answers(...addresses) })).toMatch(
      /^(address_not_allowed|tool_failed: .*no address|tool_failed)/,
    );
    expect(reached).toEqual([]);
  });

  it('judges every resolution anew, and resolves once for each connection [verifies tools.http.private]', async () => {
    let asked = 0;
    const rebinding = async () => {
      asked += 1;
      if (asked > 1) return answers('127.0.0.1')();
      throw Object.assign(new Error('try again'), { code: 'EAI_AGAIN' }); // no test may leave this machine for a public address
    };
    expect(await fetchUrl(`http://rebind.example:${port}/`, { resolve: rebinding })).toMatch(/^tool_failed/);
    expect(await fetchUrl(`http://rebind.example:${port}/`, { resolve: rebinding })).toMatch(/^address_not_allowed/);
    expect(reached).toEqual([]);

    let resolved = 0;
    const resolve = async () => {
      resolved += 1;
      return answers(resolved === 1 ? '127.0.0.1' : '127.0.0.2')();
    };
    expect(await fetchUrl(`http://granted.example:${port}/`, { resolve, allowPrivate: () => true })).toContain('hello');
    expect(resolved).toBe(1);
  });

  it.each([
    ['an address', () => `http://127.0.0.1:${port}/secret`],
    ['a decimal address', () => `http://2130706433:${port}/secret`],
    ['a mapped address', () => `http://[::ffff:127.0.0.1]:${port}/secret`],
    ['a name', () => `http://internal.example:${port}/secret`],
    ['another port of a granted host', () => `http://granted.example:${port + 1}/secret`],
    ['another scheme', () => 'file:///etc/passwd'],
  ])('refuses a redirect to %s [verifies tools.http.private]', async (_kind, target) => {
    listener = (_request, response) => response.writeHead(302, { location: target() }).end();
    const answer = await fetchUrl(`http://granted.example:${port}/start`, {
      resolve: answers('127.0.0.1'),
      allowPrivate: (hostname, at) => hostname === 'granted.example' && at === port,
    });
    expect(answer).toMatch(/^(address_not_allowed|tool_input_invalid)/);
    expect(reached.map(({ url }) => url)).toEqual(['/start']);
  });

  it('refuses what is no web address', async () => {
    for (const url of [
      'ftp://example.com/',
      'gopher://example.com/',
      'data:text/plain,x',
      'http://user:secret@example.com/',
      'nonsense',
      'http://',
    ]) {
      expect(await fetchUrl(url)).toMatch(/^tool_input_invalid/);
    }
    for (const at of [22, 25, 6379 - 6000]) expect(await fetchUrl(`http://example.com:${at}/`)).toMatch(/^address_not_allowed/);
  });
});

describe('with a granted host', () => {
  const granted = (): Partial<HttpFetchOptions> => ({
    resolve: answers('127.0.0.1'),
    allowPrivate: (hostname, at) => at === port && ['api.example', 'other.example', '127.0.0.1'].includes(hostname),
  });
  const base = () => `http://api.example:${port}`;

  it('gives the status, the final address and the text', async () => {
    listener = (_request, response) => response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"none"}');
    expect(await fetchUrl(`${base()}/thing?x=1#part`, granted())).toBe(`404 ${base()}/thing?x=1 (application/json)\n\n{"error":"none"}`);
    expect(reached[0]?.url).toBe('/thing?x=1');
    expect(reached[0]?.headers.host).toBe(`api.example:${port}`);
  });

  it('takes an answer in small pieces, and gives up one that comes in nothing but crumbs', async () => {
    const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n';
    const answer = (bytes: number) => {
      listener = (_request, response) => response.socket?.end(`${head}${'1\r\nx\r\n'.repeat(bytes)}0\r\n\r\n`);
      return fetchUrl(`${base()}/`, granted());
    };
    expect(await answer(15_000)).toContain('x'.repeat(15_000));
    expect(await answer(30_000)).toMatch(/^tool_failed.*too small/);
  });

  it('gives up a server that only ever begins to answer', async () => {
    listener = (_request, response) => {
      const go = () => {
        while (response.socket?.destroyed === false && response.socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(1_000)));
      };
      response.socket?.on('drain', go).on('error', () => undefined);
      go();
    };
    expect(await fetchUrl(`${base()}/`, granted())).toMatch(/^tool_failed.*only ever begins/);
  });

  it('asks policy for every hop and stops at a refusal', async () => {
    listener = (request, response) =>
      request.headers.host?.startsWith('api')
        ? response.writeHead(307, { location: `http://other.example:${port}/b` }).end()
        : response.end('b');
    const asked: string[] = [];
    const authorize: Reader['authorize'] = async ({ action, resource }) => {
      asked.push(`${action} ${resource}`);
      return resource === 'other.example'
        ? { allowed: false, error: { code: 'policy_denied', message: 'not this host' } }
        : { allowed: true };
    };
    expect(await fetchUrl(`${base()}/a`, granted(), { authorize })).toBe('policy_denied: not this host');
    expect(asked).toEqual(['net.egress api.example', 'net.egress other.example']);
    expect(reached.map(({ url }) => url)).toEqual(['/a']);
  });

  it('asks policy before the name is resolved', async () => {
    let resolved = 0;
    const resolve = async () => {
      resolved += 1;
      return answers('127.0.0.1')();
    };
    const authorize: Reader['authorize'] = async () => ({ allowed: false, error: { code: 'policy_denied', message: 'no' } });
    expect(await fetchUrl(`${base()}/`, { ...granted(), resolve }, { authorize })).toBe('policy_denied: no');
    expect(resolved).toBe(0);
  });

  it('keeps secrets from another origin, and keeps them within one', async () => {
    const headers = { Authorization: 'Bearer t', Cookie: 'a=1', Accept: 'text/plain', 'X-Api-Key': 'k', 'X-Anything': 'k' };
    listener = (request, response) => {
      const next = { '/1': '/2', '/2': `http://other.example:${port}/3` }[request.url ?? ''];
      if (next === undefined) response.end('done');
      else response.writeHead(302, { location: next, 'set-cookie': 'tracking=1' }).end();
    };
    expect(await fetchUrl({ url: `${base()}/1`, headers }, granted())).toContain('done');
    expect(reached.map(({ headers: sent }) => [sent.authorization, sent.cookie, sent.accept])).toEqual([
      ['Bearer t', 'a=1', 'text/plain'],
      ['Bearer t', 'a=1', 'text/plain'],
      [undefined, undefined, 'text/plain'],
    ]);
    expect(reached.map(({ headers: sent }) => [sent['x-api-key'], sent['x-anything']])).toEqual([
      ['k', 'k'],
      ['k', 'k'],
      [undefined, undefined],
    ]);
  });

  it('refuses headers that belong to the connection', async () => {
    for (const name of ['Host', 'Content-Length', 'Transfer-Encoding', 'Proxy-Authorization', 'Connection', 'bad name', 'x\r\ny']) {
      expect(await fetchUrl({ url: `${base()}/`, headers: { [name]: '1' } }, granted())).toMatch(/^tool_input_invalid/);
    }
    expect(await fetchUrl({ url: `${base()}/`, headers: { a: 'x\r\nHost: y' } }, granted())).toMatch(/^tool_input_invalid/);
    expect(reached).toEqual([]);
  });

  it('stops after five redirects', async () => {
    listener = (_request, response) => response.writeHead(302, { location: '/again' }).end();
    expect(await fetchUrl(`${base()}/`, granted())).toMatch(/^tool_failed: more than 5 redirects/);
    expect(reached).toHaveLength(6);
  });

  it('cuts a long body, also one that is small when compressed', async () => {
    listener = (request, response) => {
      const body = Buffer.alloc(20_000_000, 'x');
      if (request.url === '/zip') response.writeHead(200, { 'content-type': 'text/plain', 'content-encoding': 'gzip' }).end(gzipSync(body));
      else response.writeHead(200, { 'content-type': 'text/plain' }).end(body);
    };
    for (const path of ['/', '/zip']) {
      const answer = await fetchUrl(`${base()}${path}`, { ...granted(), maxBodyBytes: 1_000 });
      expect(answer).toMatch(/x{1000}\n\[body cut: the first 1000 bytes were read\]$/);
      expect(answer.length).toBeLessThan(1_200);
    }
  });

  it('reads HTML as text, other charsets, and says what is no text', async () => {
    listener = (request, response) => {
      const bodies: Record<string, [string, Buffer]> = {
        '/html': [
          'text/html; charset=utf-8',
          Buffer.from(
            '<head><title>T &amp; U</title><style>p{}</style></head><script>alert(1)</script><p>One<br>two &lt;3</p><!-- no --><div>x < y</div>',
          ),
        ],
        '/latin': ['text/plain; charset=iso-8859-1', Buffer.from('Gr\xfc\xdfe', 'latin1')],
        '/png': ['image/png', Buffer.from([0x89, 0x50, 0])],
      };
      const [type, body] = bodies[request.url ?? ''] ?? ['text/plain', Buffer.alloc(0)];
      response.writeHead(200, { 'content-type': type }).end(body);
    };
    expect((await fetchUrl(`${base()}/html`, granted())).split('\n').slice(2)).toEqual(['T & U', '', 'One', 'two <3', '', 'x < y']);
    expect(await fetchUrl({ url: `${base()}/html`, raw: true }, granted())).toContain('<script>');
    expect(await fetchUrl(`${base()}/latin`, granted())).toMatch(/Grüße$/);
    expect(await fetchUrl(`${base()}/png`, granted())).toMatch(/\[the body is no text: 3 bytes\]$/);
    expect(await fetchUrl(`${base()}/empty`, granted())).toMatch(/\[no body\]$/);
  });

  it('gives JSON with a line for each value, and every digit as it was [verifies tools.http.markdown]', async () => {
    const json = `{"id":12345678901234567890,"a":[1.0,{"b":"x, {y}: \\"z"}],"none":[],"o":{ },"long":"${'x'.repeat(100)}"}`;
    listener = (_request, response) => response.writeHead(200, { 'content-type': 'application/problem+json' }).end(json);
    const answer = await fetchUrl(`${base()}/`, granted());
    expect(answer.split('\n').slice(2).join('\n')).toBe(
      `{\n  "id": 12345678901234567890,\n  "a": [\n    1.0,\n    {\n      "b": "x, {y}: \\"z"\n    }\n  ],\n  "none": [],\n  "o": {},\n  "long": "${'x'.repeat(100)}"\n}`,
    );
    expect(await fetchUrl({ url: `${base()}/`, raw: true }, granted())).toContain(json);
    const deep = `${'['.repeat(300_000)}${']'.repeat(300_000)}`;
    listener = (_request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(deep);
    expect((await fetchUrl(`${base()}/`, granted())).length).toBeLessThan(60_000);
  });

  it('gives the headers of a HEAD request, without cookies', async () => {
    listener = (_request, response) => response.writeHead(200, { 'x-total': '7', 'set-cookie': 'a=secret' }).end();
    const answer = await fetchUrl({ url: `${base()}/`, method: 'HEAD' }, granted());
    expect(answer).toContain('x-total: 7');
    expect(answer).not.toContain('secret');
  });

  it('gives up on a silent server and on a refused connection, without naming addresses', async () => {
    listener = () => undefined;
    expect(await fetchUrl(`${base()}/`, { ...granted(), idleTimeoutMs: 100 })).toMatch(
      /^tool_failed: the request failed \(UND_ERR_HEADERS_TIMEOUT\)/,
    );
    const answer = await fetchUrl('http://api.example:1/', { ...granted(), allowPrivate: () => true });
    expect(answer).toMatch(/^tool_failed: the request failed \(ECONNREFUSED\)/);
    expect(answer).not.toContain('127.0.0.1');
  });

  it('gives up on a server that falls silent within its answer', async () => {
    listener = (_request, response) => void response.writeHead(200, { 'content-type': 'text/plain' }).write('part');
    expect(await fetchUrl(`${base()}/`, { ...granted(), idleTimeoutMs: 100 })).toMatch(/^tool_failed: .*UND_ERR_BODY_TIMEOUT/);
  });

  it('goes to the host itself, whatever proxies the environment names', async () => {
    const names = ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'NODE_USE_ENV_PROXY'];
    const before = names.map((name) => process.env[name]);
    for (const name of names) process.env[name] = name.startsWith('NODE') ? '1' : 'http://127.0.0.1:9/';
    try {
      expect(await fetchUrl(`${base()}/direct`, granted())).toContain('hello');
    } finally {
      for (const [index, name] of names.entries()) {
        const value = before[index];
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
    expect(reached.map(({ url }) => url)).toEqual(['/direct']);
  });

  it('keeps no cookie for the next call', async () => {
    listener = (_request, response) => response.writeHead(200, { 'set-cookie': 'a=1' }).end('hello');
    for (let index = 0; index < 2; index++) await fetchUrl(`${base()}/`, granted());
    expect(reached.map(({ headers }) => headers.cookie)).toEqual([undefined, undefined]);
  });

  it('stops when it is cancelled', async () => {
    listener = (_request, response) => void response.writeHead(200).write('part');
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    expect(await fetchUrl(`${base()}/`, granted(), { signal: controller.signal })).toMatch(/^cancelled/);
  });
});

describe('http_request', () => {
  const granted = (): Partial<HttpFetchOptions> => ({ allowPrivate: () => true });
  const base = () => `http://127.0.0.1:${port}`;
  const send = async (input: Record<string, unknown>, options: Partial<HttpFetchOptions> = granted(), reader: Reader = {}) => {
    const service = createTestToolService(createHttpTools({ timers: systemTimers, ...options }));
    return said(await readCall(service, makeToolCall({ toolName: 'http_request', input, timeoutMs: 2_000 }), reader));
  };
  /** Answers with what came. */
  const echo: RequestListener = (request, response) => {
    let body = '';
    request.on('data', (piece) => {
      body += piece;
    });
    request.on('end', () => response.end(`${request.method} ${request.headers['content-type']} ${body}`));
  };

  it('sends once, with a key for the call, and gives the answer [verifies tools.http.changes]', async () => {
    listener = echo;
    expect(await send({ url: `${base()}/a`, method: 'POST', json: { a: [1] } })).toMatch(/POST application\/json \{"a":\[1\]\}$/);
    const headers = { 'content-type': 'text/csv' };
    expect(await send({ url: `${base()}/a`, method: 'PUT', body: 'a,b', headers })).toMatch(/PUT text\/csv a,b$/);
    expect(await send({ url: `${base()}/a`, method: 'DELETE' })).toMatch(/DELETE undefined $/);
    expect(reached.map(({ headers }) => headers['idempotency-key'])).toEqual(['run_1/call_1', 'run_1/call_1', 'run_1/call_1']);
    for (const input of [{ method: 'GET' }, { method: 'POST', json: 1, body: 'x' }, {}])
      expect(await send({ url: `${base()}/`, ...input })).toMatch(/^tool_input_invalid/);
    expect(await fetchUrl({ url: `${base()}/`, method: 'POST' }, granted())).toMatch(/^tool_input_invalid/);
    expect(reached).toHaveLength(3);
  });

  it('asks policy with its method, and reaches no private address [verifies tools.http.changes]', async () => {
    const asked: unknown[] = [];
    const authorize: Reader['authorize'] = async ({ context }) => {
      asked.push(context?.method);
      return { allowed: false, error: { code: 'policy_denied', message: 'no', retryable: false } };
    };
    expect(await send({ url: `${base()}/`, method: 'PATCH', json: 1 }, granted(), { authorize })).toMatch(/^policy_denied/);
    expect(asked).toEqual(['PATCH']);
    expect(await send({ url: `${base()}/`, method: 'POST', json: 1 }, {})).not.toMatch(/^(200|tool_outcome_unknown)/);
    expect(reached).toEqual([]);
  });

  it('passes what it sends on to no other server [verifies tools.http.changes]', async () => {
    listener = (request, response) => {
      if (request.url === '/see') response.writeHead(303, { location: '/end' }).end();
      else if (request.url === '/same') response.writeHead(307, { location: '/end' }).end();
      else if (request.url === '/other') response.writeHead(308, { location: `http://localhost:${port}/end` }).end();
      else echo(request, response);
    };
    const ask = (path: string) => send({ url: `${base()}${path}`, method: 'POST', body: 'secret' });
    expect(await ask('/see')).toMatch(/GET undefined $/);
    expect(await ask('/same')).toMatch(/POST text\/plain; charset=utf-8 secret$/);
    expect(await ask('/other')).toMatch(/^tool_failed: the server passes the request on to localhost/);
    expect(reached.map(({ url }) => url)).toEqual(['/see', '/end', '/same', '/end', '/other']);
  });

  it('says that the outcome is unknown where an answer did not come, and only there [verifies tools.http.changes]', async () => {
    listener = (request) => request.socket.destroy();
    expect(await send({ url: `${base()}/`, method: 'POST', json: 1 })).toMatch(/^tool_outcome_unknown/);
    listener = () => undefined;
    expect(await send({ url: `${base()}/`, method: 'POST', json: 1 }, { ...granted(), idleTimeoutMs: 100 })).toMatch(
      /^tool_outcome_unknown/,
    );
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const address = closed.address();
    await new Promise((resolve) => closed.close(resolve));
    const gone = typeof address === 'object' && address !== null ? address.port : 0;
    expect(await send({ url: `http://127.0.0.1:${gone}/`, method: 'POST', json: 1 })).toMatch(/^tool_failed/);
  });
});
