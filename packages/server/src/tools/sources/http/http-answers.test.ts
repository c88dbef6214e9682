import { createServer as createSocketServer, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { systemTimers } from '#core';
import { secretValue, useServer } from './http-tools.testkit.ts';

const api = useServer();

const json = (value: unknown) => {
  api.listener = (_request, response) =>
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(value));
};

describe('an answer', () => {
  it('is given whole, or the part that is asked for [verifies tools.http.answer]', async () => {
    json({ data: { items: [{ id: 1, title: 'a', body: 'long' }, { id: 2 }, 'text'] }, 'a/b': 7 });
    expect(await api.call({ path: '/', response: { pointer: '/data/items', pick: ['id', 'title'] } })).toBe(
      '[{"id":1,"title":"a"},{"id":2},"text"]',
    );
    expect(await api.call({ path: '/', response: { pointer: '/a~1b' } })).toBe('7');
    expect(await api.call({ path: '/', response: { pointer: '/data/items/1/id' } })).toBe('2');
    expect(await api.call({ path: '/', response: { pointer: '/data/pages' } })).toMatch(
      /^tool_failed: the answer \(200\) has nothing at \/data\/pages; .*"pages".*items/,
    );
    expect(await api.call({ path: '/', response: { pointer: '/constructor/name' } })).toMatch(/^tool_failed: .*nothing at/);
  });

  it('is text, or nothing, or a shape that was promised', async () => {
    api.listener = (_request, response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Hello <b>you</b><script>x</script>');
    expect(await api.call({ path: '/' })).toMatch(/^Hello \**you\**$/);
    api.listener = (_request, response) => response.writeHead(204).end();
    expect(await api.call({ method: 'DELETE', path: '/' })).toBe('done (204), without an answer');
    expect(await api.call({ path: '/', outputSchema: { type: 'null' } })).toBe('null');
    json({ id: 'x' });
    expect(await api.call({ path: '/', outputSchema: { type: 'object', properties: { id: { type: 'integer' } } } })).toMatch(
      /^tool_failed: .*does not fit/,
    );
    api.listener = (_request, response) => response.writeHead(200, { 'x-total': '7', 'set-cookie': 'a=b' }).end();
    expect(await api.call({ method: 'HEAD', path: '/' })).toMatch(/^\{"status":200,"headers":\{.*"x-total":"7"/);
  });

  it.each([
    [
      'broken JSON',
      'application/json',
      '{"a":',
      /^tool_failed: the answer \(200\) is not the JSON \(application\/json\) that it should be/,
    ],
    ['JSON that is too deep', 'application/json', '['.repeat(300) + ']'.repeat(300), /^tool_failed: .*nested too deep/],
    ['bytes', 'image/png', '\u0000\u0001', /^tool_failed: the answer \(200\) is no text: 2 bytes of image\/png/],
    ['bytes without a type', '', 'a\u0000b', /^tool_failed: the answer \(200\) is no text: 3 bytes of an unknown type/],
  ])('that is %s is told as what it is [verifies tools.http.answer]', async (_what, type, body, message) => {
    api.listener = (_request, response) => response.writeHead(200, type === '' ? {} : { 'content-type': type }).end(body);
    expect(await api.call({ path: '/' })).toMatch(message);
  });

  it('that is no JSON where JSON is wanted says so', async () => {
    api.listener = (_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    expect(await api.call({ path: '/', response: { as: 'json' } })).toMatch(/^tool_failed: .*not the JSON \(text\/html\)/);
  });

  it('of a refusal has its status and some of its words, without secrets [verifies tools.http.answer tools.http.secrets]', async () => {
    api.listener = (request, response) =>
      response
        .writeHead(403, { 'content-type': 'application/json' })
        .end(JSON.stringify({ error: `bad ${request.headers.authorization}`, more: 'x'.repeat(100_000) }));
    const end = await api.end({ path: '/' }, {}, { source: { auth: { type: 'bearer', token: 'secret:TOKEN' } } });
    expect(end).toMatchObject({ error: { code: 'tool_failed', details: { reason: 'status', status: 403 } } });
    const text = JSON.stringify(end);
    expect(text).toContain('the server answered 403: {');
    expect(text.length).toBeLessThan(3_000);
    for (const part of [secretValue, secretValue.slice(0, 14)]) expect(text).not.toContain(part);
  });
});

describe('an answer that is too much', () => {
  it('is read no further than its limit [verifies tools.http.bounded]', async () => {
    let written = 0;
    api.listener = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/plain' });
      const piece = Buffer.alloc(65_536, 'x');
      const write = () => {
        while (written < 50 * 1024 * 1024 && !response.destroyed) {
          written += piece.length;
          if (!response.write(piece)) return response.once('drain', write);
        }
        return response.end();
      };
      write();
    };
    expect(await api.end({ path: '/' })).toMatchObject({ error: { code: 'limit_exceeded', details: { limit: 'output', status: 200 } } });
    expect(written).toBeLessThan(30 * 1024 * 1024);
    expect(await api.call({ path: '/', response: { maxBytes: 10 } })).toMatch(/longer than the 10 bytes/);
    expect(await api.call({ method: 'POST', path: '/', response: { maxBytes: 10 } })).toMatch(/^limit_exceeded/);
  });

  it('stays small when it was packed small [verifies tools.http.bounded]', async () => {
    const bomb = gzipSync(Buffer.alloc(100 * 1024 * 1024));
    api.listener = (_request, response) => response.writeHead(200, { 'content-type': 'text/plain', 'content-encoding': 'gzip' }).end(bomb);
    expect(await api.call({ path: '/' })).toMatch(/^limit_exceeded/);
    api.listener = (_request, response) =>
      response.writeHead(200, { 'content-type': 'text/plain', 'content-encoding': 'gzip' }).end('no gzip at all');
    expect(await api.call({ path: '/' })).toMatch(/^tool_failed: the answer cannot be decompressed/);
    api.listener = (_request, response) => response.writeHead(200, { 'content-encoding': 'zz' }).end('x');
    expect(await api.call({ path: '/' })).toMatch(/^tool_failed: .*encoding zz/);
  });

  it('is given up when its headers do not end, or it is no HTTP', async () => {
    const sockets = new Set<Socket>();
    let answer = '';
    const server = createSocketServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('data', () => socket.write(answer));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const baseUrl = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
    answer = `HTTP/1.1 200 OK\r\n${'x-a: 1\r\n'.repeat(10_000)}`;
    expect(await api.call({ path: '/' }, {}, { source: { baseUrl } })).toMatch(/^limit_exceeded: the headers of the answer/);
    answer = 'SSH-2.0-OpenSSH_9.6\r\n\r\n';
    expect(await api.call({ path: '/' }, {}, { source: { baseUrl } })).toMatch(/^tool_failed: the server does not speak HTTP/);
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  it('that falls silent is given up', async () => {
    api.listener = (_request, response) => void response.writeHead(200, { 'content-type': 'text/plain' }).write('part');
    expect(await api.call({ path: '/' }, {}, { idleTimeoutMs: 100 })).toMatch(/^tool_failed: the server said nothing for too long/);
  });
});

describe('a call that is cancelled', () => {
  it.each(['before its answer', 'within its answer'])('%s closes its connection [verifies tools.http.bounded]', async (when) => {
    const controller = new AbortController();
    const closed = new Promise<void>((resolve) => {
      api.listener = (request, response) => {
        request.socket.once('close', () => resolve());
        if (when === 'within its answer') response.writeHead(200).write('part');
        setTimeout(() => controller.abort(), 30);
      };
    });
    expect(await api.call({ path: '/' }, {}, { signal: controller.signal })).toMatch(/^cancelled/);
    await closed;
  });
});

describe('a server that is busy', () => {
  it.each([429, 503])(
    'with %d is asked again after as long as it says, where the call may be repeated [verifies tools.http.retries]',
    async (status) => {
      let asked = 0;
      api.listener = (_request, response) => {
        asked += 1;
        if (asked < 3) response.writeHead(status, { 'retry-after': asked === 1 ? '0' : '1' }).end('busy');
        else response.end('at last');
      };
      const startedAt = performance.now();
      expect(await api.call({ path: '/' })).toBe('at last');
      expect(performance.now() - startedAt).toBeGreaterThan(950);
      asked = 0;
      expect(await api.call({ path: '/', retries: 0 })).toMatch(`tool_failed: the server answered ${status}: busy`);
      asked = 0;
      expect(await api.end({ method: 'POST', path: '/' })).toMatchObject({
        error: { code: 'tool_failed', retryable: true, details: { status, retryAfterMs: 0 } },
      });
      expect(asked).toBe(1);
    },
  );

  it('for long, or for ever, is not waited for', async () => {
    api.listener = (_request, response) => response.writeHead(503, { 'retry-after': '3600' }).end();
    expect(await api.end({ path: '/' })).toMatchObject({ error: { details: { retryAfterMs: 3_600_000 } } });
    expect(api.reached.length).toBe(1);
    api.listener = (_request, response) => response.writeHead(429, { 'retry-after': '0' }).end();
    expect(await api.call({ path: '/' })).toMatch(/^tool_failed: the server answered 429/);
    expect(api.reached.length).toBe(4);
    api.listener = (_request, response) => response.writeHead(500).end();
    await api.call({ path: '/' });
    expect(api.reached.length).toBe(5);
  });

  it('ends with the call that waits for it', async () => {
    api.listener = (_request, response) => response.writeHead(503, { 'retry-after': '20' }).end();
    const controller = new AbortController();
    void systemTimers.sleep(100).then(() => controller.abort());
    expect(await api.call({ path: '/' }, {}, { signal: controller.signal })).toMatch(/^cancelled/);
  });
});
