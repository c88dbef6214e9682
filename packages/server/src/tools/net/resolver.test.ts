import { createSocket, type Socket } from 'node:dgram';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { createNameResolver } from './resolver.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A name server that answers A of every name with 192.0.2.7, and is silent about names that begin with `silent`. */
async function nameServer(): Promise<string> {
  const socket: Socket = createSocket('udp4');
  socket.on('message', (question, { port, address }) => {
    const length = question[12] ?? 0;
    if (
      question
        .subarray(13, 13 + length)
        .toString()
        .startsWith('silent')
    )
      return;
    let end = 12;
    while ((question[end] ?? 0) !== 0) end += (question[end] ?? 0) + 1;
    const isFour = question.readUInt16BE(end + 1) === 1;
    const head = Buffer.from(question.subarray(0, end + 5));
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(isFour ? 1 : 0, 6);
    head.writeUInt16BE(0, 8);
    head.writeUInt16BE(0, 10);
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    socket.send(isFour ? Buffer.concat([head, record]) : head, port, address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  closing.push(() => new Promise<void>((resolve) => socket.close(() => resolve())));
  return `127.0.0.1:${socket.address().port}`;
}

it('lets no name wait for others whose name server is silent, nor for files [verifies hostile.shares.resolver]', async () => {
  const names = createNameResolver({ servers: [await nameServer()], timeoutMs: 1_500 });
  const over = new AbortController();
  const silent = Array.from({ length: 60 }, (_, index) => names.ofOutside(`silent-${index}.example`, over.signal));
  const settled = Promise.allSettled(silent);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const startedAt = performance.now();
  expect(await names.ofOutside('www.example')).toEqual([{ address: '192.0.2.7', family: 4 }]);
  expect(performance.now() - startedAt).toBeLessThan(1_000);
  over.abort();
  for (const each of await settled) expect(each).toMatchObject({ status: 'rejected', reason: { code: 'tool_failed' } });
  expect(performance.now() - startedAt).toBeLessThan(2_500); // who gives up waits no longer
});

it('says which name could not be looked up, and why', async () => {
  const names = createNameResolver({ servers: [await nameServer()], timeoutMs: 100 });
  await expect(names.ofOutside('silent.example')).rejects.toMatchObject({
    code: 'tool_failed',
    message: expect.stringMatching(/silent\.example could not be looked up .*silent/),
  });
});

it('knows the names of the hosts file, also after it has changed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nexus-hosts-'));
  closing.push(() => rm(folder, { recursive: true }));
  const hostsFile = join(folder, 'hosts');
  await writeFile(hostsFile, '# names\n192.0.2.1 Printer.Office printer # here\n2001:db8::1\tprinter.office\nnonsense x\n');
  const names = createNameResolver({ hostsFile, servers: ['127.0.0.1:9'], timeoutMs: 100 });
  expect(await names.ofOutside('printer.office')).toEqual([
    { address: '192.0.2.1', family: 4 },
    { address: '2001:db8::1', family: 6 },
  ]);
  expect(await names.ofOutside('PRINTER')).toEqual([{ address: '192.0.2.1', family: 4 }]);
  await writeFile(hostsFile, '198.51.100.22 printer\n');
  expect(await names.ofOutside('printer')).toEqual([{ address: '198.51.100.22', family: 4 }]);
});

it('asks the system for granted names, once for all that want the same, and two at a time', async () => {
  const asked: string[] = [];
  const answers = new Map<string, () => void>();
  const names = createNameResolver({
    askSystem: async (hostname) => {
      asked.push(hostname);
      await new Promise<void>((resolve) => answers.set(hostname, resolve));
      return [{ address: '10.0.0.1', family: 4 }];
    },
  });
  const all = ['a', 'a', 'b', 'c', 'a', 'b'].map((name) => names.ofOperator(name));
  await new Promise((resolve) => setImmediate(resolve));
  expect(asked).toEqual(['a', 'b']);
  answers.get('b')?.();
  await new Promise((resolve) => setImmediate(resolve));
  expect(asked).toEqual(['a', 'b', 'c']);
  for (const answer of answers.values()) answer();
  expect(await Promise.all(all)).toHaveLength(6);
});
