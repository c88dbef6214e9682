import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTestPlatform } from './testing/index.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nexus-token-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server has such an address
  server.close();
  await once(server, 'close');
  return port;
}

it('a server whose user has no home that can be written starts, and says where its token is not and where it is', async () => {
  // Where nothing can be made, and a program that makes folder after folder never ends.
  const config = { auth: { local: 'token' }, stateHome: '/proc/none' } as const;
  const platform = await startTestPlatform({ dataDir: folder, config });
  try {
    const path = join(folder, 'local', `${platform.port}.token`);
    expect(existsSync(path)).toBe(true);
    expect(platform.logs).toContainEqual(
      expect.objectContaining({
        level: 'info',
        fields: expect.objectContaining({ folder: '/proc/none/nexus-agent', written: [path] }),
        message: expect.stringContaining('could not be written into one of its folders'),
      }),
    );
  } finally {
    await platform.close();
  }
}, 20_000);

it('a server is ready once its token can be found, and answers nothing before [verifies hostile.steer.token]', async () => {
  const port = await freePort();
  const path = join(folder, 'local', `${port}.token`);
  const seen: { status: number; found: boolean }[] = [];
  let started = false;
  /** Asks again and again from before the port is bound. */
  const look = async () => {
    while (!started) {
      const answer = await fetch(`http://127.0.0.1:${port}/v1/runs`).catch(() => null);
      if (answer !== null) seen.push({ status: answer.status, found: existsSync(path) });
    }
  };
  const looking = Promise.all(Array.from({ length: 8 }, look));
  const platform = await startTestPlatform({ dataDir: folder, config: { port, auth: { local: 'token' }, stateHome: folder } });
  started = true;
  try {
    await looking;
    expect(seen.filter(({ status, found }) => status !== 503 && !found)).toEqual([]);
  } finally {
    await platform.close();
  }
}, 20_000);
