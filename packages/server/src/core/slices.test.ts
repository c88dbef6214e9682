import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
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
