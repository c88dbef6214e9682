import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { resolveConfig } from '#apps/config';
import { tokenSeal } from './token-seal.ts';

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'nexus-seal-'));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const key = 'a key of more than thirty-two characters';
const sealOf = (flags: Parameters<typeof resolveConfig>[0]['flags']) => tokenSeal(resolveConfig({ env: {}, flags: { dataDir, ...flags } }));

it('makes a key once for the embedded database, which nobody else may read, however many come at once [verifies tools.mcp.oauth.sealed]', async () => {
  expect(readdirSync(dataDir)).toEqual([]);
  const seals = await Promise.all(Array.from({ length: 8 }, () => sealOf({})()));
  const sealed = seals[0]?.seal('token', ['x']) ?? '';
  expect(seals.map((seal) => seal.open(sealed, ['x']))).toEqual(seals.map(() => 'token'));
  expect(readdirSync(dataDir)).toEqual(['mcp-token-key']);
  expect(statSync(join(dataDir, 'mcp-token-key')).mode & 0o777).toBe(0o600);
  expect(readFileSync(join(dataDir, 'mcp-token-key'))).toHaveLength(32);
});

it('says what is wrong with a key file that is damaged, and takes it once it is mended [verifies tools.mcp.oauth.sealed]', async () => {
  const file = join(dataDir, 'mcp-token-key');
  writeFileSync(file, 'short');
  const seal = sealOf({});
  await expect(seal()).rejects.toThrow(/is damaged/);
  rmSync(file);
  await expect(seal()).resolves.toBeDefined();
});

it('takes the key of the configuration, and refuses Postgres without one [verifies tools.mcp.oauth.sealed]', async () => {
  const databaseUrl = 'postgres://127.0.0.1/nexus';
  await expect(sealOf({ databaseUrl })()).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringMatching(/mcpClient\.oauth\.key/),
  });
  const [one, two, three] = await Promise.all([
    sealOf({ databaseUrl, mcpClient: { oauth: { key } } })(),
    sealOf({ mcpClient: { oauth: { key } } })(),
    sealOf({ mcpClient: { oauth: { key: `${key}!` } } })(),
  ]);
  const sealed = one.seal('token', ['x']);
  expect([two.open(sealed, ['x']), three.open(sealed, ['x'])]).toEqual(['token', null]);
  expect(readdirSync(dataDir)).toEqual([]);
});
