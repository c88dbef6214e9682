import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { runCli } from './cli.testkit.ts';

let folder: string;
let platform: TestPlatform;
let strict: TestPlatform;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nexus-test-'));
  const start = (local: 'token' | 'none') => startTestPlatform({ config: { auth: { local }, stateHome: join(folder, 'state') } });
  [platform, strict] = await Promise.all([start('token'), start('none')]);
});
afterAll(async () => {
  await Promise.all([platform, strict].map((each) => each?.close()));
  await rm(folder, { recursive: true, force: true });
});

/** A user who looks for tokens in other places than the servers put them. */
const elsewhere = () => ({ XDG_STATE_HOME: join(folder, 'other/state'), NEXUS_DATA_DIR: join(folder, 'other/data') });
const list = (url: string, options: { env?: Record<string, string>; files?: Record<string, string>; json?: boolean } = {}) =>
  runCli(['runs', 'list', ...(options.json === true ? ['--json'] : [])], {
    env: { ...elsewhere(), NEXUS_URL: url, ...options.env },
    ...(options.files === undefined ? {} : { files: options.files }),
  });

it('tells a user whom the server does not know where the token was looked for, and what opens it [verifies cli.refused]', async () => {
  const { code, err } = await list(platform.url);
  expect(code).toBe(1);
  expect(err).toContain(
    `there is no ${platform.port}.token of this user in ${folder}/other/state/nexus-agent or ${folder}/other/data/local`,
  );
  expect(err).toContain('run this as its user, or set NEXUS_API_KEY to a key');
});

it('names the file of a token that does not open the server', async () => {
  const path = join(folder, 'other/data/local', `${platform.port}.token`);
  expect((await list(platform.url, { files: { [path]: 'stale' } })).err).toContain(`the token in ${path} does not open it`);
});

it('says that a key was sent, and where that came from', async () => {
  for (const { url } of [platform, strict]) {
    const { err } = await list(url, { env: { NEXUS_API_KEY: `nx_${'0'.repeat(26)}_${'x'.repeat(43)}` } });
    expect(err).toContain('sent was the key of client.apiKey (NEXUS_API_KEY): check it, or unset it');
    expect(err).not.toContain('xxx');
  }
});

it('says that keys are demanded, and leaves the output to programs that read JSON', async () => {
  const { out, err } = await list(strict.url, { json: true });
  expect(JSON.parse(out)).toMatchObject({
    error: { code: 'unauthenticated', detail: expect.stringContaining('this server takes API keys only') },
  });
  expect(err).toContain('or takes keys only');
});

it('doctor finds that commands are not let in, before one is refused', async () => {
  const doctor = async ({ url, app }: TestPlatform, dataDir = app.config.dataDir) =>
    (await runCli(['doctor'], { env: { ...elsewhere(), NEXUS_URL: url, NEXUS_DATA_DIR: dataDir } })).out;
  expect(await doctor(platform)).toMatch(/✓ server +version 0\.0\.0-test answers at \S+$/m);
  expect(await doctor(strict)).toMatch(
    /! server +version \S+ answers at \S+ and does not let commands in from here: there is no \d+\.token of this user/,
  );
});
