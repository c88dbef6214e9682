import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { NexusError, systemTimers } from '#core';
import { createTestToolService, makeToolCall, type Reader, readCall, said } from '../../testing/index.ts';
import { createEcho, edgeSecretsFor, secretValue } from './edge-secrets.testkit.ts';
import { createHttpTools, type HttpFetchOptions } from './http-fetch.ts';

const echo = createEcho('http');
const other = createEcho('http');
beforeAll(() => Promise.all([echo.start(), other.start()]));
afterAll(() => Promise.all([echo.close(), other.close()]));
beforeEach(() => {
  echo.heard.length = 0;
  other.heard.length = 0;
  echo.answer = (request, response) => response.end(JSON.stringify(request.headers));
});

const at = (path: string) => `http://localhost:${echo.port()}${path}`;
const options = (): Partial<HttpFetchOptions> => ({
  allowPrivate: () => true,
  resolve: async () => [{ address: '127.0.0.1', family: 4 }],
  secrets: edgeSecretsFor(echo.port),
});
const call = async (input: Record<string, unknown>, more: Partial<HttpFetchOptions> = {}, reader: Reader = {}, toolName = 'http_fetch') =>
  said(
    await readCall(
      createTestToolService(createHttpTools({ timers: systemTimers, ...options(), ...more })),
      makeToolCall({ toolName, input }),
      reader,
    ),
  );

it('goes along in its header, and comes back in no spelling [verifies tools.edge.http]', async () => {
  echo.answer = (request, response) => {
    const got = String(request.headers.authorization).slice('Bearer '.length);
    response.setHeader('content-type', 'text/plain');
    response.setHeader('x-echo', got);
    response.end(
      ['plain', got, encodeURIComponent(got), Buffer.from(`user:${got}`).toString('base64'), Buffer.from(got).toString('hex')].join(' '),
    );
  };
  const text = await call({ url: at('/a'), secret: 'DEMO' });
  expect(echo.heard[0]).toContain(`"authorization":"Bearer ${secretValue}"`);
  expect(text).toMatch(/^200 .*plain \[redacted\] \[redacted\] \S*\[redacted\]\S* \[redacted\]$/s);
  const head = await call({ url: at('/a'), method: 'HEAD', secret: 'DEMO' });
  expect(head).toContain('x-echo: [redacted]');
  expect(text + head).not.toContain(secretValue);
  expect(await call({ url: at('/a'), secret: 'DEMO', method: 'POST', json: {} }, {}, {}, 'http_request')).not.toContain(secretValue);
});

describe('is not sent, and nothing is', () => {
  it.each<[what: string, input: () => Record<string, unknown>, error: RegExp]>([
    [
      'where there is none of the name',
      () => ({ url: at('/'), secret: 'OTHER' }),
      /there is no secret OTHER that calls may send to localhost/,
    ],
    ['to another port', () => ({ url: `http://localhost:${other.port()}/`, secret: 'DEMO' }), /there is no secret DEMO/],
    ['to another name of the same server', () => ({ url: `http://127.0.0.1:${echo.port()}/`, secret: 'DEMO' }), /there is no secret DEMO/],
    ['over plain http to another machine', () => ({ url: 'http://api.test/', secret: 'DEMO' }), /is sent over https only/],
    [
      'where the call sets its header',
      () => ({ url: at('/'), secret: 'DEMO', headers: { Authorization: 'x' } }),
      /authorization cannot be set/,
    ],
    ['for a part of an answer', () => ({ url: at('/'), secret: 'DEMO', headers: { Range: 'bytes=0-5' } }), /range cannot be set/],
  ])('%s [verifies tools.edge.http]', async (_what, input, error) => {
    expect(await call(input())).toMatch(error);
    expect([...echo.heard, ...other.heard]).toEqual([]);
  });

  it('where policy refuses it, which is asked for each call [verifies tools.edge.decided]', async () => {
    const asked: string[] = [];
    const authorize: NonNullable<Reader['authorize']> = async ({ action, resource }) => {
      asked.push(`${action} ${resource}`);
      return action === 'secret.use' ? { allowed: false, error: new NexusError('policy_denied', 'no').toInfo() } : { allowed: true };
    };
    expect(await call({ url: at('/'), secret: 'DEMO' }, {}, { authorize })).toMatch(/policy_denied|no/);
    expect(asked).toEqual(['net.egress localhost', 'secret.use DEMO']);
    expect(echo.heard).toEqual([]);
  });
});

it('goes with redirects within its origin, and no further [verifies tools.edge.http]', async () => {
  echo.answer = (request, response) => {
    if (request.url === '/within') return void response.writeHead(302, { location: '/next' }).end();
    if (request.url === '/out') return void response.writeHead(302, { location: `http://localhost:${other.port()}/there` }).end();
    response.end('arrived');
  };
  other.answer = (request, response) =>
    request.url === '/there' ? response.writeHead(302, { location: at('/back') }).end() : response.end('elsewhere');
  expect(await call({ url: at('/within'), secret: 'DEMO' })).toContain('arrived');
  expect(echo.heard.every((line) => line.includes(secretValue))).toBe(true);
  echo.heard.length = 0;
  expect(await call({ url: at('/out'), secret: 'DEMO' })).toContain('arrived');
  expect(other.heard.join()).not.toContain(secretValue);
  expect(echo.heard[1]).toMatch(/^GET \/back/);
  expect(echo.heard[1]).not.toContain(secretValue);
});

describe('what went wrong elsewhere: an answer gave it away', () => {
  it('in the address of a redirect, which policy and the journal would have been shown [verifies tools.edge.http]', async () => {
    const asked: string[] = [];
    echo.answer = (_request, response) =>
      response.writeHead(302, { location: `http://localhost:${other.port()}/?key=${encodeURIComponent(secretValue)}` }).end();
    const text = await call(
      { url: at('/'), secret: 'DEMO' },
      {},
      {
        authorize: async ({ resource, context }) => {
          asked.push(`${resource} ${JSON.stringify(context)}`);
          return { allowed: true };
        },
      },
    );
    expect(text).toMatch(/an address that holds the secret/);
    expect(other.heard).toEqual([]);
    expect(text + asked.join()).not.toContain(encodeURIComponent(secretValue));
  });

  it.each<[what: string, answer: (value: string) => { headers: Record<string, string>; body: Buffer | string; status?: number }]>([
    [
      'in a page, written as signs of HTML',
      (value) => ({
        headers: { 'content-type': 'text/html' },
        body: `<p>you sent ${[...value].map((sign) => `&#${sign.charCodeAt(0)};`).join('')}</p>`,
      }),
    ],
    [
      'compressed, though that was not asked for',
      (value) => ({ headers: { 'content-type': 'text/plain', 'content-encoding': 'gzip' }, body: gzipSync(value) }),
    ],
    [
      'in bytes that its charset turns into other signs',
      (value) => ({ headers: { 'content-type': 'text/plain; charset=utf-16le' }, body: `${'x'.repeat(10)}${value}` }),
    ],
    [
      'in UTF-16 that is said to be none',
      (value) => ({ headers: { 'content-type': 'text/plain' }, body: Buffer.from(`you sent ${value}`, 'utf16le') }),
    ],
    ['in its content type', (value) => ({ headers: { 'content-type': `text/plain; x=${value}` }, body: 'x' })],
    ['as one part of it', (value) => ({ status: 206, headers: { 'content-type': 'text/plain' }, body: value.slice(0, 8) })],
    ['where it was cut', (value) => ({ headers: { 'content-type': 'text/plain' }, body: `${'x'.repeat(1_990)}${value}` })],
  ])('%s [verifies tools.edge.http]', async (_what, answer) => {
    echo.answer = (_request, response) => {
      const { status = 200, headers, body } = answer(secretValue);
      response.writeHead(status, headers).end(body);
    };
    const text = await call({ url: at('/'), secret: 'DEMO' }, { maxBodyBytes: 2_000 });
    expect(text).not.toContain(secretValue);
    const signs = text + Buffer.from(text, 'utf16le').toString('latin1') + text.replaceAll('\0', '');
    expect(signs).not.toContain(secretValue.slice(0, 8));
  });
});
