import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemTimers } from '#core';
import type { ToolService } from '#tools';
import { createTestToolService, makeTool, makeToolCall, readCall } from '../testing/index.ts';
import { loadDefinition } from './definition.ts';
import { callToWire } from './messages.ts';
import { callTools, serveTools, testToken } from './testing/index.ts';

const maxCalls = 20;
const maxConnections = 60;
let server: Awaited<ReturnType<typeof serveTools>>;
let honest: ReturnType<typeof callTools>;
let service: ToolService;
const seen = { running: 0, most: 0 };
const sockets: Socket[] = [];
const sessions: ClientHttp2Session[] = [];

beforeEach(async () => {
  Object.assign(seen, { running: 0, most: 0 });
  const slow = makeTool({
    name: 'slow',
    async execute(_input, { signal }) {
      seen.running += 1;
      seen.most = Math.max(seen.most, seen.running);
      await systemTimers.sleep(60_000, signal).catch(() => undefined);
      seen.running -= 1;
      return { type: 'ok', output: '' };
    },
  });
  service = createTestToolService([makeTool(), slow], { graceMs: 100 });
  server = await serveTools(service, { maxCalls, maxConnections, unreadMs: 1_000 });
  honest = callTools(server.port);
  expect(await honest.list('ten_1')).toHaveLength(2);
});
afterEach(async () => {
  for (const session of sessions.splice(0)) session.destroy();
  for (const socket of sockets.splice(0)) socket.destroy();
  await honest.close();
  await server.close(0);
  await service.close();
});

/** Others are served, and soon. */
async function isWell(): Promise<void> {
  const startedMs = performance.now();
  expect(await readCall(honest, makeToolCall())).toMatchObject({ type: 'completed' });
  expect(performance.now() - startedMs).toBeLessThan(10_000);
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds(); waited += 20) {
    if (waited > 20_000) throw new Error(`in vain: ${what}`);
    await systemTimers.sleep(20);
  }
}

function socket(): Socket {
  const made = connectTcp(server.port, '127.0.0.1');
  made.on('error', () => undefined);
  sockets.push(made);
  return made;
}

async function session(): Promise<ClientHttp2Session> {
  const made = connect(`http://127.0.0.1:${server.port}`);
  made.on('error', () => undefined);
  sessions.push(made);
  await once(made, 'remoteSettings');
  return made;
}

const { Execute } = loadDefinition().service;

function framed(message: Buffer, claimed = message.length): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(claimed, 1);
  return Buffer.concat([head, message]);
}

/** A call as raw frames; gives the status that it ended with, or nothing where it was reset. */
function raw(to: ClientHttp2Session, body: Buffer | null, token = testToken) {
  const stream = to.request({
    ':method': 'POST',
    ':path': Execute.path,
    'content-type': 'application/grpc',
    te: 'trailers',
    authorization: `Bearer ${token}`,
  });
  let status: string | undefined;
  const hear = (headers: IncomingHttpHeaders) => {
    const said = headers['grpc-status'];
    if (said !== undefined) status = String(said);
  };
  stream.on('response', hear);
  stream.on('trailers', hear);
  stream.on('error', () => undefined);
  stream.resume();
  if (body !== null) stream.end(body);
  const ended = new Promise<string | undefined>((resolve) => stream.on('close', () => resolve(status)));
  return { stream, ended };
}

const slowCall = (callId: string) =>
  framed(Execute.requestSerialize(callToWire(makeToolCall({ callId, toolName: 'slow', timeoutMs: 60_000 }))));

it('is not bothered by what is no HTTP/2, or breaks off in it [verifies tools.wire.hostile]', async () => {
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const attacks = [
    randomBytes(10_000),
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    preface.subarray(0, 10),
    Buffer.concat([preface, randomBytes(20_000)]),
    Buffer.concat([preface, Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]), randomBytes(1_000)]),
    Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]),
  ];
  for (let round = 0; round < 20; round++)
    for (const bytes of attacks) {
      const made = socket();
      made.write(bytes);
      if (round % 2 === 0) made.end();
    }
  await systemTimers.sleep(200);
  await isWell();
});

it('closes connections beyond its limit, and has room again once others are gone [verifies tools.wire.hostile]', async () => {
  for (let count = 0; count < maxConnections * 3; count++) socket();
  await until('most of them to be closed', () => sockets.filter(({ destroyed }) => !destroyed).length < maxConnections);
  await isWell();
  for (const made of sockets.splice(0)) made.destroy();
  await systemTimers.sleep(100);
  const other = callTools(server.port);
  expect(await other.list('ten_1')).toHaveLength(2);
  await other.close();
});

it('refuses thousands of streams with a wrong token, whatever they send [verifies tools.wire.hostile]', async () => {
  // So much that the connection itself may be given up.
  const loud = await session();
  const body = framed(randomBytes(200_000));
  for (const { ended } of Array.from({ length: 100 }, () => raw(loud, body, 'wrong'))) expect(await ended).not.toBe('0');
  const attacker = await session();
  for (let round = 0; round < 10; round++) {
    const calls = Array.from({ length: 200 }, () => raw(attacker, slowCall('x'), 'wrong'));
    expect(new Set(await Promise.all(calls.map(({ ended }) => ended)))).toEqual(new Set(['16']));
  }
  expect(seen.most).toBe(0);
  await isWell();
});

it('runs no more than it may of thousands of calls, and refuses the others at once [verifies tools.wire.hostile]', async () => {
  const attacker = await session();
  const calls = Array.from({ length: 3_000 }, (_, count) => raw(attacker, slowCall(`call_${count}`)));
  await until('it to be full', () => seen.running === maxCalls);
  expect(await readCall(honest, makeToolCall())).toMatchObject({ began: false, error: { code: 'rate_limited' } });
  const statuses = await Promise.race([Promise.all(calls.slice(maxCalls * 2).map(({ ended }) => ended)), systemTimers.sleep(15_000)]);
  expect(new Set(statuses ?? [])).toEqual(new Set(['8']));
  attacker.destroy();
  await until('nothing to run', () => server.running() === 0);
  expect(seen.most).toBe(maxCalls);
  await isWell();
});

it('gives up messages that are larger than they may be, or never end [verifies tools.wire.hostile]', async () => {
  const attacker = await session();
  const claimed = raw(attacker, framed(randomBytes(1_000), 2 ** 32 - 1));
  expect(await claimed.ended).toBe('8');
  expect(await raw(attacker, framed(Buffer.from([255, 255, 255]))).ended).toBe('13');
  expect(await raw(attacker, Buffer.from([1, 0, 0, 0, 1, 0])).ended).not.toBe('0');
  expect(await raw(attacker, Buffer.alloc(0)).ended).not.toBe('0');
  // They hold a place each, and no call.
  for (let count = 0; count < maxCalls * 2; count++) raw(attacker, null).stream.write(framed(Buffer.alloc(10), 1_000));
  await systemTimers.sleep(200);
  expect(seen.most).toBe(0);
  attacker.destroy();
  await systemTimers.sleep(100);
  await isWell();
});

it('outlives streams that are opened and reset without end [verifies tools.wire.hostile]', async () => {
  for (let round = 0; round < 5; round++) {
    const attacker = await session();
    for (let count = 0; count < 500 && !attacker.destroyed; count++) raw(attacker, slowCall(`call_${count}`)).stream.close(8);
    await systemTimers.sleep(50);
    attacker.destroy();
  }
  await until('nothing to run', () => server.running() === 0);
  await isWell();
});
