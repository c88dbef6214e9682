import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { buildConnector, Pool } from 'undici';
import { afterEach, expect, it } from 'vitest';
import { readInSlices } from './slices.ts';

const open: { destroy(): void }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.destroy();
});

/** A connection to a server that sends this and ends it. */
async function receive(bytes: Buffer): Promise<Socket> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined); // the other side may have gone
    socket.end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const socket = readInSlices(connect((server.address() as AddressInfo).port, '127.0.0.1'));
  open.push(socket, { destroy: () => server.close() });
  return socket;
}

const bytes = Buffer.from(Array.from({ length: 300_001 }, (_, index) => index % 251));

it('gives all that came, a little at a time, and then its end', async () => {
  const socket = await receive(bytes);
  const chunks: Buffer[] = [];
  socket.on('readable', () => {
    for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) chunks.push(chunk);
  });
  await new Promise((resolve) => socket.once('end', resolve));
  expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
  expect(Math.max(...chunks.map(({ length }) => length))).toBeLessThanOrEqual(256);
});

it('gives nothing of what is left once it is destroyed [verifies hostile.provider.heads]', async () => {
  const socket = await receive(bytes);
  await new Promise((resolve) => socket.once('readable', resolve));
  expect(socket.read()).not.toBeNull();
  socket.destroy();
  expect(socket.read()).toBeNull();
});

it('gives no more in a turn than it has time for, to every socket a little [verifies hostile.provider.heads]', async () => {
  const sockets = await Promise.all(Array.from({ length: 6 }, () => receive(bytes.subarray(0, 5_000))));
  const given = sockets.map(() => 0);
  let [inTurn, most] = [0, 0];
  let leastWhenOneEnded = Number.POSITIVE_INFINITY;
  const ends = sockets.map(
    (socket, index) =>
      new Promise<void>((resolve) => {
        socket.on('readable', () => {
          for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) {
            for (const until = performance.now() + 4; performance.now() < until; );
            given[index] = (given[index] ?? 0) + chunk.length;
            most = Math.max(most, ++inTurn);
          }
        });
        socket.once('end', () => {
          leastWhenOneEnded = Math.min(leastWhenOneEnded, ...given);
          resolve();
        });
      }),
  );
  let turn = setImmediate(function next() {
    inTurn = 0;
    turn = setImmediate(next);
  });
  await Promise.all(ends);
  clearImmediate(turn);
  expect(given).toEqual(sockets.map(() => 5_000));
  // Of 10 ms three pieces begin; twice where a turn of the one counts as two of the other.
  expect(most).toBeLessThanOrEqual(6);
  expect(leastWhenOneEnded).toBeGreaterThan(0);
});

it('loses nothing of bodies that undici reads while turns are long, kept connections and slow readers included', async () => {
  const body = (index: number) => Buffer.from(bytes.subarray(index * 1_000, index * 1_000 + 120_000));
  const server = createHttpServer((request, response) => {
    const index = Number(request.url?.slice(1));
    response.write(body(index).subarray(0, 50_000));
    // Kept connections, ends by chunks, by length and by the end of the connection.
    if (index % 3 === 0) response.shouldKeepAlive = false;
    setTimeout(() => response.end(body(index).subarray(50_000)), index % 5);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const connect = buildConnector({});
  const pool = new Pool(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    connections: 12,
    connect: (target, callback) =>
      connect(target, (...[error, socket]) => (error === null ? callback(null, readInSlices(socket)) : callback(error, null))),
  });
  let turn = setImmediate(function hog() {
    for (const until = performance.now() + 3; performance.now() < until; );
    turn = setImmediate(hog);
  });
  const read = async (index: number) => {
    const answer = await pool.request({ method: 'GET', path: `/${index}` });
    const chunks: Buffer[] = [];
    for await (const chunk of answer.body) {
      chunks.push(chunk as Buffer);
      if (index % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return Buffer.concat(chunks).equals(body(index));
  };
  const whole = await Promise.all(Array.from({ length: 60 }, (_, index) => read(index)));
  clearImmediate(turn);
  await pool.destroy();
  server.close();
  server.closeAllConnections();
  expect(whole).toEqual(whole.map(() => true));
}, 60_000);
