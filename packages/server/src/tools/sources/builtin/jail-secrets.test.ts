import { connect, type Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { NexusError, systemClock, systemTimers } from '#core';
import type { AuthorizationRequest, ToolContext } from '#tools/contract';
import { createEcho, edgeSecretsFor, secretValue } from './edge-secrets.testkit.ts';
import { createJailNetworks, type JailNetwork, type WantedHost } from './jail-network.ts';

const limits = {
  ...{ connections: 32, totalConnections: 1_000, bytesOut: 1_000_000, bytesIn: 1_000_000, bytesPerSecond: 100_000_000 },
  ...{ headerBytes: 16_384, idleMs: 5_000, connectionMs: 20_000 },
};
const never = new AbortController().signal;
const http = createEcho('http');
const raw = createEcho('raw');
let echo = http;
let open: JailNetwork | undefined;
beforeAll(() => Promise.all([http.start(), raw.start()]));
afterAll(() => Promise.all([http.close(), raw.close()]));
beforeEach(() => {
  for (const each of [http, raw]) each.heard.length = 0;
  echo = http;
});
afterEach(async () => {
  await open?.close();
  open = undefined;
});

const networks = () =>
  createJailNetworks(
    {
      ...{ enabled: true, ...limits, secrets: edgeSecretsFor(() => echo.port()) },
      egress: { allowPrivate: (hostname) => hostname === 'localhost', resolve: async () => [{ address: '127.0.0.1', family: 4 }] },
    },
    { clock: systemClock, timers: systemTimers },
  );

function callOf(tenantId = 'default', refused: string[] = []) {
  const asked: AuthorizationRequest[] = [];
  const authorize = async (request: AuthorizationRequest) => {
    asked.push(request);
    return refused.includes(request.action) ? { allowed: false, error: new NexusError('policy_denied', 'no').toInfo() } : { allowed: true };
  };
  return { asked, context: { tenantId, authorize } as unknown as ToolContext }; // nothing else of it is used
}
const here = () => `localhost:${echo.port()}`;
/** This machine is the one place without TLS. */
const withSecret = (): WantedHost => ({ host: `http://${here()}`, secret: 'DEMO' });

/** What a program would send to its proxy, byte for byte, and all that it gets. */
async function say(text: string, wanted: readonly WantedHost[] = [withSecret()]): Promise<string> {
  open ??= await networks().open(await networks().decide(wanted, callOf().context), never);
  const socket = connect(open.socketPath, () => socket.write(text, 'latin1'));
  socket.on('error', () => undefined);
  return textOf(socket);
}
const get = (path: string, more = '') => `GET http://${here()}${path} HTTP/1.1\r\nHost: ${here()}\r\n${more}\r\n`;

describe('a host with a secret', () => {
  it('is a question about the host and one about the secret, and is called over https [verifies tools.edge.decided tools.edge.jail]', async () => {
    const secrets = { find: () => edgeSecretsFor(() => 1).find('default', 'DEMO', { hostname: 'localhost', port: 1 }) };
    const made = createJailNetworks({ enabled: true, ...limits, secrets, egress: {} }, { clock: systemClock, timers: systemTimers });
    const { asked, context } = callOf();
    const grants = await made.decide(
      [
        { host: 'api.example.com', secret: 'DEMO' },
        { host: 'api.example.com:8443', secret: 'DEMO' },
      ],
      context,
    );
    expect(asked).toEqual([
      { action: 'net.egress', resource: 'api.example.com', context: { port: 443, scheme: 'https', private: false } },
      { action: 'secret.use', resource: 'DEMO' },
      { action: 'net.egress', resource: 'api.example.com', context: { port: 8443, scheme: 'https', private: false } },
      { action: 'secret.use', resource: 'DEMO' },
    ]);
    expect(grants.map((grant) => [grant.port, grant.use === 'secret' ? grant.origin.href : ''])).toEqual([
      [80, 'https://api.example.com/'],
      [8443, 'https://api.example.com:8443/'],
    ]);
  });

  it.each<[what: string, wanted: () => readonly WantedHost[], error: RegExp, call?: ReturnType<typeof callOf>]>([
    ['plain http to another machine', () => [{ host: 'http://api.example.com', secret: 'DEMO' }], /is sent over https only/],
    ['no grant for the host', () => [{ host: 'api.example.com', secret: 'DEMO' }], /there is no secret DEMO/],
    ['no grant for the tenant', () => [withSecret()], /there is no secret DEMO/, callOf('stranger')],
    ['no such secret', () => [{ host: `http://${here()}`, secret: 'toString' }], /there is no secret toString/],
    ['policy says no to the secret', () => [withSecret()], /^no$/, callOf('default', ['secret.use'])],
    ['policy says no to the host', () => [withSecret()], /^no$/, callOf('default', ['net.egress'])],
    ['the host is named without it as well', () => [withSecret(), `http://${here()}`], /once more for plain HTTP/],
  ])('is refused before anything runs: %s [verifies tools.edge.decided]', async (_what, wanted, error, call = callOf()) => {
    await expect(networks().decide(wanted(), call.context)).rejects.toThrow(error);
  });

  it('is sent it in place of whatever the program said of itself, and the program is told what came [verifies tools.edge.jail]', async () => {
    echo.answer = (_request, response) => response.writeHead(201, { location: `http://${here()}/made/1`, etag: 'e' }).end('done');
    const answer = await say(
      get('/a?b=c', 'Authorization: Basic eDp5\r\nCookie: mine=1\r\nAccept-Encoding: gzip\r\nRange: bytes=0-3\r\nX-Own: kept\r\n'),
    );
    expect(answer).toMatch(/^HTTP\/1\.1 201 Created\r\n.*etag: e\r\n.*done/s);
    expect(answer).toContain(`location: http://${here()}/made/1`);
    const [request = ''] = echo.heard;
    expect(request).toMatch(/^GET \/a\?b=c /);
    expect(JSON.parse(request.slice(request.indexOf('{')))).toMatchObject({
      authorization: `Bearer ${secretValue}`,
      'accept-encoding': 'identity',
      'x-own': 'kept',
    });
    expect(request).not.toMatch(/eDp5|mine=1|bytes=0-3/);
    await open?.close();
    expect(open?.use().connections).toMatchObject([{ kind: 'http', host: 'localhost', secret: 'DEMO', outcome: 'ok' }]);
    expect(JSON.stringify(open?.use())).not.toContain(secretValue);
  });
});

describe('what went wrong elsewhere: a program got the secret out', () => {
  it('by an echo in the body and the head, in any spelling [verifies tools.edge.jail]', async () => {
    echo.answer = (request, response) => {
      const got = String(request.headers.authorization).slice('Bearer '.length);
      response.writeHead(200, { 'x-echo': got, [`x-${got.slice(3, 6)}`]: Buffer.from(got).toString('base64') });
      response.end(
        `${got} ${JSON.stringify(request.headers)} ${encodeURIComponent(got)} ${Buffer.from(`Bearer ${got}`).toString('base64')}`,
      );
    };
    const answer = await say(get('/'));
    expect(answer.match(/\[redacted\]/g)?.length).toBeGreaterThanOrEqual(6);
    for (const spelling of [secretValue, encodeURIComponent(secretValue), Buffer.from(secretValue).toString('base64').slice(0, 20)])
      expect(answer).not.toContain(spelling);
  });

  it('by an echo in UTF-16, which is not asked for on its behalf [verifies tools.edge.jail]', async () => {
    echo.answer = (request, response) => {
      const said = Buffer.from(`you sent ${request.headers.authorization}`, 'utf16le');
      response.end(Buffer.concat([said, Buffer.from(said).swap16()]));
    };
    const answer = await say(get('/', 'Accept-Charset: utf-16\r\n'));
    expect(echo.heard[0]).not.toContain('utf-16');
    expect(answer.replaceAll('\0', '')).not.toContain(secretValue.slice(0, 8));
  });

  it.each(Array.from({ length: secretValue.length - 1 }, (_, index) => index + 1))(
    'by an echo in pieces, cut after %d signs, and after each one [verifies tools.edge.jail]',
    async (cut) => {
      echo = raw;
      const whole = `begin ${secretValue} end`;
      echo.answer = async (socket: Socket) => {
        socket.setNoDelay(true);
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
        const pieces = cut === 1 ? [...whole] : [whole.slice(0, 6 + cut), whole.slice(6 + cut)];
        for (const piece of pieces) {
          socket.write(`${piece.length.toString(16)}\r\n${piece}\r\n`);
          await systemTimers.sleep(cut === 1 ? 1 : 5);
        }
        socket.end('0\r\nX-Trailer: '.concat(secretValue, '\r\n\r\n'));
      };
      const answer = await say(get('/'));
      expect(answer.replace(/\r\n[0-9a-f]+\r\n/g, '')).toContain('begin [redacted] end'.slice(0, 5));
      const body = answer.slice(answer.indexOf('\r\n\r\n') + 4).replace(/[0-9a-f]+\r\n|\r\n/g, '');
      expect(body).not.toContain(secretValue.slice(0, 6));
      expect(answer).not.toContain(secretValue);
    },
  );

  it.each<[what: string, head: string, body: (value: string) => Buffer | string]>([
    ['compressed although identity was asked for', '200 OK\r\nContent-Encoding: gzip', (value) => gzipSync(value)],
    ['in an encoding with another name', '200 OK\r\nContent-Encoding: identity, br', (value) => value],
    ['as a part', '206 Partial Content\r\nContent-Range: bytes 0-7/22', (value) => value.slice(0, 8)],
  ])('%s: then nothing of it is passed on [verifies tools.edge.jail]', async (_what, head, body) => {
    echo = raw;
    echo.answer = (socket: Socket) => {
      const bytes = Buffer.from(body(secretValue));
      socket.write(`HTTP/1.1 ${head}\r\nContent-Length: ${bytes.length}\r\n\r\n`);
      socket.end(bytes);
    };
    const answer = await say(get('/'));
    expect(answer).toMatch(/^HTTP\/1\.1 502 /);
    expect(answer).toContain('cannot be looked through is not passed on');
    expect(answer).not.toContain(secretValue.slice(0, 8));
  });

  it.each<[what: string, text: () => string, status: number]>([
    ['to another port', () => `GET http://localhost:1/ HTTP/1.1\r\nHost: localhost:1\r\n\r\n`, 403],
    ['to another name of it', () => `GET http://127.0.0.1:${echo.port()}/ HTTP/1.1\r\nHost: 127.0.0.1:${echo.port()}\r\n\r\n`, 403],
    ['with another Host', () => `GET http://${here()}/ HTTP/1.1\r\nHost: evil.test\r\n\r\n`, 400],
    ['with two of them', () => `GET http://${here()}/ HTTP/1.1\r\nHost: ${here()}\r\nHost: evil.test\r\n\r\n`, 400],
    ['by a tunnel', () => `CONNECT ${here()} HTTP/1.1\r\nHost: ${here()}\r\n\r\n`, 403],
    ['by TRACE', () => `TRACE http://${here()}/ HTTP/1.1\r\nHost: ${here()}\r\n\r\n`, 400],
    ['by https to the proxy', () => `GET https://${here()}/ HTTP/1.1\r\nHost: ${here()}\r\n\r\n`, 400],
    [
      'with two lengths',
      () =>
        `POST http://${here()}/ HTTP/1.1\r\nHost: ${here()}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n`,
      400,
    ],
    ['with credentials in the address', () => `GET http://a:b@${here()}/ HTTP/1.1\r\nHost: ${here()}\r\n\r\n`, 400],
  ])('%s: nothing is sent [verifies tools.edge.jail]', async (_what, text, status) => {
    echo.answer = (_request, response) => response.end('reached');
    expect(await say(text())).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(echo.heard).toEqual([]);
  });

  it('with a second request behind the first, which is none of ours [verifies tools.edge.jail]', async () => {
    echo.answer = (_request, response) => response.end('reached');
    await say(`${get('/first')}${get('/second')}`);
    expect(echo.heard.length).toBe(1);
  });

  it('with a header that the connection takes away on the way [verifies tools.edge.jail]', async () => {
    echo.answer = (_request, response) => response.end('reached');
    await say(get('/', 'Connection: authorization, close\r\nAuthorization: mine\r\n'));
    expect(echo.heard[0]).toContain(`"authorization":"Bearer ${secretValue}"`);
  });
});

it('bytes that are no text come as they are [verifies tools.edge.jail]', async () => {
  echo = raw;
  const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, index) => (index * 31) % 256));
  echo.answer = (socket: Socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`);
    socket.end(bytes);
  };
  open = await networks().open(await networks().decide([withSecret()], callOf().context), never);
  const socket = connect(open.socketPath, () => socket.write(get('/').replace('HTTP/1.1', 'HTTP/1.0')));
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece);
  const all = Buffer.concat(pieces);
  expect(Buffer.compare(all.subarray(all.indexOf('\r\n\r\n') + 4), bytes)).toBe(0);
});
