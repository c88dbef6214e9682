import { createHmac } from 'node:crypto';
import { TenantId } from '@nexus-agent/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createIdSource, systemTimers } from '#core';
import { createManualClock } from '#core/testing';
import { ledgerRules } from '#ledger';
import type { Store } from '#storage';
import { openStore } from '#storage/drivers';
import { type KeySecretsOptions, openKeySecrets } from './key-secrets.ts';
import { createKeys } from './keys.ts';

const clock = createManualClock();
const ids = createIdSource(clock);
let store: Store;
beforeEach(async () => {
  store = await openStore({ url: 'sqlite::memory:', ledgerRules, clock, timers: systemTimers, ids });
});
afterEach(() => store.close());

const owner = { tenantId: TenantId.parse('default'), id: 'local', scopes: ['admin'], roles: ['owner'] } as const;
const [one, two] = ['first secret of an operator, long', 'second secret of an operator, long'];
const folder = (byte: number) => new Uint8Array(32).fill(byte);

async function node(options: Omit<KeySecretsOptions, 'store' | 'clock'> = {}) {
  const secrets = await openKeySecrets({ store, clock, ...options });
  const keys = createKeys({ store, clock, ids, secrets });
  return {
    secrets,
    make: async () => (await keys.create(owner, { name: 'k', scopes: ['runs'], roles: [] })).secret ?? '',
    opens: async (secret: string) => (await keys.authenticate(secret)) !== null,
    revoke: (id: string) => keys.revoke(owner, id),
  };
}

/** A key as a version before the database kept the secret has made it. */
async function oldKey(bytes: Uint8Array): Promise<string> {
  const keyId = ids.next<string>('key');
  const rest = 'r'.repeat(43);
  const hash = createHmac('sha256', bytes).update(rest).digest('hex');
  const row = {
    keyId,
    hash,
    name: 'old',
    secretId: null,
    scopes: ['runs' as const],
    roles: [],
    createdAt: 1,
    expiresAt: null,
    revokedAt: null,
  };
  await store.putKey({ tenantId: owner.tenantId, ...row });
  return `nx_${keyId.slice(4)}_${rest}`;
}

describe('the key secret', () => {
  it('is the same on every node, so that a key opens all of them [verifies nodes.keys]', async () => {
    const [a, b] = await Promise.all([node(), node()]);
    const key = await a.make();
    expect(await b.opens(key)).toBe(true);
    expect(await (await node()).opens(key)).toBe(true);
    expect(await b.opens(`${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`)).toBe(false);
  });

  it('of each data folder is adopted: keys of earlier versions open every node', async () => {
    const keys = await Promise.all([oldKey(folder(1)), oldKey(folder(2))]);
    const stranger = await oldKey(folder(3));
    const a = await node({ adopted: folder(1) });
    expect(await Promise.all(keys.map(a.opens))).toEqual([true, false]);
    const b = await node({ adopted: folder(2) });
    expect(await Promise.all(keys.map(b.opens))).toEqual([true, true]);
    // The first node has looked before the second one came, and looks again.
    clock.advance(1_000);
    expect(await a.opens(keys[1] ?? '')).toBe(true);
    expect(await a.opens(stranger)).toBe(false);
    expect(await b.opens(await a.make())).toBe(true);
  });

  it('that is configured wins, is not stored, and leaves earlier keys as they are', async () => {
    const before = await (await node()).make();
    const a = await node({ configured: one });
    const key = await a.make();
    expect(await Promise.all([before, key].map((await node({ configured: one })).opens))).toEqual([true, true]);
    expect(JSON.stringify(await store.listKeySecrets())).not.toContain(Buffer.from(one ?? '').toString('hex'));
    expect(a.secrets.current.fingerprint).toMatch(/^[0-9a-f]{16}$/);
  });

  it.each([
    [
      'another',
      { configured: two },
      /^auth\.keySecret .*1 active API key .* configured secret ([0-9a-f]{16}), and the one that this node is given is [0-9a-f]{16}; give every node the same/,
    ],
    ['none', {}, /and this node has none configured; give every node the same secret, or revoke those keys first/],
  ])('that keys need is missed by a node that is given %s, which does not start [verifies nodes.keys]', async (_, options, message) => {
    const a = await node({ configured: one });
    const key = await a.make();
    await expect(node(options)).rejects.toMatchObject({ code: 'config_invalid', message: expect.stringMatching(message) });
    await a.revoke(`key_${key.split('_')[1]}`);
    const b = await node(options);
    expect(b.secrets.forgotten).toEqual([a.secrets.current.fingerprint]);
    // Keys that the first node made now would not open the second.
    await expect(a.make()).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('restart it') });
    expect(await b.opens(await b.make())).toBe(true);
  });

  it('that is lost keeps no command from revoking the keys that were made under it [verifies nodes.keys]', async () => {
    const lost = await (await node({ configured: one })).make();
    const told: string[] = [];
    const command = await node({ configured: two, onMissing: ({ message }) => void told.push(message) });
    expect(told).toEqual([expect.stringContaining('nexus keys revoke --embedded <key>')]);
    expect(await command.opens(lost)).toBe(false);
    await expect(command.make()).rejects.toMatchObject({ code: 'conflict' });
    await command.revoke(`key_${lost.split('_')[1]}`);
    const b = await node({ configured: two });
    expect(await b.opens(await b.make())).toBe(true);
  });
});
