import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databases, pause, startVictim, type Victim } from './support/victim.ts';

const [database = 'sqlite'] = await databases();
const families = ['127.0.0.1', '::1'];
let victim: Victim;
beforeAll(async () => {
  victim = await startVictim({ database, config: { limits: { requestTimeoutMs: 1_500 } } });
});
afterAll(() => victim.close());

function dial(host = '127.0.0.1'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: victim.port }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** What comes back until the server ends the connection, or for so long. */
async function exchange(bytes: string | Buffer, host?: string, patienceMs = 4_000): Promise<string> {
  const socket = await dial(host);
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1');
  });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => undefined); // a reset is an answer, too
  socket.write(bytes);
  await Promise.race([closed, pause(patienceMs)]);
  socket.destroy();
  return received;
}

const head = (line: string, ...headers: readonly string[]) =>
  `${[line, 'Host: localhost', 'Connection: close', ...headers].join('\r\n')}\r\n\r\n`;
/** One of several on a connection. */
const kept = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
const json = 'Content-Type: application/json';

const malformed: Readonly<Record<string, string | Buffer>> = {
  'no HTTP at all': 'hello\r\n\r\n',
  'HTTP/0.9': 'GET /\r\n\r\n',
  'a version that does not exist': head('GET / HTTP/9.9'),
  'the preface of HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'a TLS hello': Buffer.from('16030100f1010000ed0303', 'hex'),
  'a method that does not exist': head('BREW / HTTP/1.1'),
  'no host': 'GET /healthz HTTP/1.1\r\n\r\n',
  'two hosts': head('GET /healthz HTTP/1.1', 'Host: evil.test'),
  'two lengths': `${head('POST /v1/sessions HTTP/1.1', json, 'Content-Length: 2', 'Content-Length: 5')}{}`,
  'a length and chunks': `${head('POST /v1/sessions HTTP/1.1', json, 'Content-Length: 2', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
  'chunks twice': `${head('POST /v1/sessions HTTP/1.1', json, 'Transfer-Encoding: chunked, chunked')}0\r\n\r\n`,
  'an encoding that is not chunks': `${head('POST /v1/sessions HTTP/1.1', json, 'Transfer-Encoding: gzip')}{}`,
  'a negative length': `${head('POST /v1/sessions HTTP/1.1', json, 'Content-Length: -1')}{}`,
  'a length without end': `${head('POST /v1/sessions HTTP/1.1', json, `Content-Length: ${'9'.repeat(30)}`)}{}`,
  'a chunk of no size': `${head('POST /v1/sessions HTTP/1.1', json, 'Transfer-Encoding: chunked')}zz\r\n{}\r\n0\r\n\r\n`,
  'a chunk without end': `${head('POST /v1/sessions HTTP/1.1', json, 'Transfer-Encoding: chunked')}ffffffffffffffffff\r\n{}`,
  'a space before the colon': head('GET /healthz HTTP/1.1', 'X-A : 1'),
  'a header over two lines': head('GET /healthz HTTP/1.1', 'X-A: 1\r\n 2'),
  'a line feed alone': 'GET /healthz HTTP/1.1\nHost: localhost\n\n',
  'a NUL in a header': head('GET /healthz HTTP/1.1', 'X-A: \0'),
  'a header of a megabyte': head('GET /healthz HTTP/1.1', `X-A: ${'a'.repeat(1_000_000)}`),
  'ten thousand headers': head('GET /healthz HTTP/1.1', ...Array.from({ length: 10_000 }, (_, index) => `X-${index}: 1`)),
  'a path of a megabyte': head(`GET /${'a'.repeat(1_000_000)} HTTP/1.1`),
  'a path that is none': head('GET %00%ff HTTP/1.1'),
  'a path with broken escapes': head('GET /v1/runs/%zz%e0%a4 HTTP/1.1'),
  'the whole server': head('OPTIONS * HTTP/1.1'),
  'a tunnel': head('CONNECT evil.test:443 HTTP/1.1'),
  'another server': head('GET http://evil.test/healthz HTTP/1.1'),
  'an upgrade': head(
    'GET /healthz HTTP/1.1',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    'Sec-WebSocket-Version: 13',
  ),
  'an expectation that nobody meets': `${head('POST /v1/sessions HTTP/1.1', json, 'Content-Length: 2', 'Expect: everything')}{}`,
  'a packed body': `${head('POST /v1/sessions HTTP/1.1', json, 'Content-Encoding: gzip', 'Content-Length: 2')}{}`,
  'a cursor that is none': head('GET /v1/runs?cursor=%00%ff%2e%2e HTTP/1.1'),
  'a cursor of ten thousand letters': head(`GET /v1/runs?cursor=${'a'.repeat(10_000)} HTTP/1.1`),
};

describe('what is no proper request', () => {
  it.each(Object.entries(malformed))(
    '%s: refused with a problem, or not answered, on each address family [verifies hostile.requests.malformed]',
    async (_what, bytes) => {
      await victim.unmoved(async () => {
        for (const host of families) {
          const answer = await exchange(bytes, host);
          for (const one of answer.split(/(?=HTTP\/1\.1 \d{3})/)) {
            if (one === '') continue;
            const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(one)?.[1]);
            expect(status, one).toBeLessThan(500);
            if (status < 400) continue;
            expect(one).toMatch(/content-type: application\/problem\+json/i);
            const problem = JSON.parse(one.slice(one.indexOf('\r\n\r\n') + 4));
            expect(problem).toMatchObject({ status, code: expect.any(String), detail: expect.any(String) });
          }
        }
        expect((await victim.call('GET', '/v1/sessions')).body.data).toHaveLength(0);
      });
    },
    30_000,
  );
});

describe('a client that takes its time', () => {
  it('is cut off: half a head, a head without a body, a body that trickles, five hundred at once [verifies hostile.requests.slow]', async () => {
    await victim.unmoved(async () => {
      const pieces = ['GET /hea', 'GET /healthz HTTP/1.1\r\nHost: local', head('POST /v1/sessions HTTP/1.1', json, 'Content-Length: 9000')];
      const sockets = await Promise.all(
        Array.from({ length: 500 }, async (_, index) => {
          const socket = await dial(families[index % 2]);
          socket.on('error', () => undefined);
          socket.resume();
          socket.write(pieces[index % pieces.length] ?? '');
          return socket;
        }),
      );
      let open = sockets.length;
      for (const socket of sockets) socket.once('close', () => (open -= 1));
      const trickle = setInterval(() => {
        for (const socket of sockets) if (socket.writable) socket.write('a');
      }, 100);
      await expect.poll(() => open, { timeout: 10_000 }).toBe(0);
      clearInterval(trickle);
    });
  }, 30_000);

  it('is told that it took too long', async () => {
    for (const host of families) {
      const answer = await exchange(head('POST /v1/sessions HTTP/1.1', json, 'Content-Length: 9000'), host, 8_000);
      expect(answer).toMatch(/^HTTP\/1\.1 408 /);
      expect(answer).toContain('"code":"request_timeout"');
    }
  }, 30_000);
});

describe('a client that asks and does not read', () => {
  it('does not fill the memory: ten thousand requests on one connection [verifies hostile.requests.unread]', async () => {
    const before = victim.residentMb();
    await victim.unmoved(async () => {
      const socket = await dial();
      socket.on('error', () => undefined);
      socket.pause();
      socket.write(kept('/openapi.json').repeat(10_000));
      await pause(3_000);
      expect(victim.residentMb() - before).toBeLessThan(120);
      socket.destroy();
    });
  }, 30_000);

  it('is answered twenty requests that it sends at once, and cut off with ten thousand [verifies hostile.requests.unread]', async () => {
    const ask = async (requests: number) => {
      const socket = await dial();
      let text = '';
      let isCut = false;
      socket.on('error', () => undefined);
      socket.on('data', (bytes) => {
        text += bytes.toString('latin1');
      });
      socket.once('close', () => {
        isCut = true;
      });
      socket.write(kept('/healthz').repeat(requests));
      await pause(1_500);
      socket.destroy();
      return { isCut, answers: text.split('HTTP/1.1 200').length - 1 };
    };
    expect(await ask(20)).toEqual({ isCut: false, answers: 20 });
    const { isCut, answers } = await ask(10_000);
    expect(isCut).toBe(true);
    expect(answers).toBeLessThanOrEqual(32);
  }, 30_000);
});

it('takes no more connections than it can, keeps what it needs for itself, and is there again when they are gone [verifies hostile.requests.connections]', async () => {
  const small = await startVictim({ database, config: { limits: { connections: 100 } } });
  try {
    const open: Socket[] = [];
    for (let at = 0; at < 300; at++) {
      const socket = connect({ host: '127.0.0.1', port: small.port });
      socket.on('error', () => undefined);
      open.push(socket);
    }
    await pause(500);
    expect(open.filter((socket) => !socket.destroyed && socket.readyState === 'open').length).toBeLessThanOrEqual(100);
    expect(small.exited()).toBeNull();
    for (const socket of open) socket.destroy();
    await pause(200);
    expect((await small.call('GET', '/healthz')).status).toBe(200);
    expect(small.output()).toContain('limits.connections');
  } finally {
    await small.close();
  }
}, 30_000);
