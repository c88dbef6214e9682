import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform } from '#apps/testing';
import { systemErrorText } from './system-errors.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nexus-test-'));
  await writeFile(join(folder, 'file'), '');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const socketError = (options: { host: string; port: number }) =>
  new Promise((_, reject) => connect(options).once('error', reject)) as Promise<never>; // it only ever fails

it.each([
  ['a file that is not there', () => readFile(join(folder, 'nope')), /there is no .*nope; check the path/],
  ['a path through a file', () => readFile(join(folder, 'file', 'x')), /leads through a file/],
  ['a port where nothing listens', () => socketError({ host: '127.0.0.1', port: 9 }), /nothing listens at 127\.0\.0\.1:9/],
  ['a name that is none', () => socketError({ host: 'nope.invalid', port: 9 }), /the name nope\.invalid cannot be resolved/],
  [
    'a port that is in use',
    async () => {
      const first = createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => first.once('listening', resolve));
      try {
        const address = first.address() as { port: number }; // a TCP server has such an address
        await new Promise((_, reject) => createServer().once('error', reject).listen(address.port, '127.0.0.1'));
      } finally {
        first.close();
      }
    },
    /127\.0\.0\.1:\d+ is in use; stop what uses it or choose another port/,
  ],
])('%s is told in a sentence', async (_, fail, sentence) => {
  const error: unknown = await fail().then(
    () => null,
    (fault: unknown) => fault,
  );
  const text = systemErrorText(error);
  expect(text).toMatch(sentence);
  expect(text).not.toMatch(/\bE[A-Z]{3,}\b/);
});

it('leaves errors of other kinds alone', () => {
  expect(systemErrorText(new Error('x'))).toBeNull();
  expect(systemErrorText(Object.assign(new Error('x'), { code: 'unavailable' }))).toBeNull();
  expect(systemErrorText('x')).toBeNull();
});

it('tells a data folder that is a file, and makes one with all above it', async () => {
  await expect(startTestPlatform({ dataDir: join(folder, 'file') })).rejects.toThrow(
    /^dataDir \(NEXUS_DATA_DIR.*is there and is no folder/,
  );
  const platform = await startTestPlatform({ dataDir: join(folder, 'a', 'b', 'c') });
  await platform.close();
});
