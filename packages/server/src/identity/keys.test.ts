import { TenantId } from '@nexus-agent/protocol';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createIdSource, systemTimers } from '#core';
import { createManualClock } from '#core/testing';
import { ledgerRules } from '#ledger';
import type { Store } from '#storage';
import { openStore } from '#storage/drivers';
import { openKeySecrets } from './key-secrets.ts';
import { createKeys } from './keys.ts';

const clock = createManualClock();
const ids = createIdSource(clock);
let store: Store;
beforeEach(async () => {
  store = await openStore({ url: 'sqlite::memory:', ledgerRules, clock, timers: systemTimers, ids });
});
afterEach(() => store.close());

const owner = { tenantId: TenantId.parse('default'), id: 'local', scopes: ['admin'], roles: ['owner'] } as const;

async function keysOver(wrapped: Store = store) {
  return createKeys({ store: wrapped, clock, ids, secrets: await openKeySecrets({ store, clock }) });
}

it('a role that was stored in capitals is the same role [verifies keys.grant]', async () => {
  const { create } = await keysOver({
    ...store,
    putKey: (row) => store.putKey({ ...row, roles: row.roles.map((role) => role.toUpperCase()) }),
  });
  const { secret = '' } = await create(owner, { name: 'old', scopes: ['admin'], roles: ['lead', 'owner'] });
  const keys = await keysOver();
  const principal = await keys.authenticate(secret);
  expect(principal?.roles).toEqual(['admin', 'lead', 'owner']);
  expect((await keys.list(owner, { limit: 10 })).data[0]?.roles).toEqual(['admin', 'lead', 'owner']);
});

it('whoever is no owner gives no scope that they lack, and revokes no owner [verifies keys.grant]', async () => {
  const keys = await keysOver();
  const clerk = { ...owner, id: 'clerk', scopes: ['runs'], roles: ['developer'] } as const;
  await expect(keys.create(clerk, { name: 'x', scopes: ['approvals'], roles: [] })).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('this one has runs, not approvals'),
  });
  const { id } = await keys.create(owner, { name: 'boss', scopes: ['admin'], roles: ['Owner'] });
  await expect(keys.revoke(clerk, id)).rejects.toMatchObject({ code: 'forbidden' });
  await keys.revoke(owner, id);
});

it('a key that expires makes none that outlives it [verifies keys.grant]', async () => {
  const keys = await keysOver();
  const at = (ms: number) => new Date(clock.now() + ms).toISOString();
  const { secret = '' } = await keys.create(owner, { name: 'guest', scopes: ['admin'], roles: [], expiresAt: at(5_000) });
  const guest = await keys.authenticate(secret);
  if (guest === null) throw new Error('the key was just made');
  const make = (expiresAt?: string) =>
    keys.create(guest, { name: 'heir', scopes: ['runs'], roles: [], ...(expiresAt === undefined ? {} : { expiresAt }) });
  for (const later of [undefined, at(5_001)]) {
    await expect(make(later)).rejects.toMatchObject({ code: 'forbidden', message: expect.stringContaining(`expires at ${at(5_000)}`) });
  }
  expect((await make(at(5_000))).expiresAt).toBe(at(5_000));
  expect((await keys.list(owner, { limit: 10 })).data).toHaveLength(2);
});

it('a key stands until it expires or is revoked, of which what goes on hears within a second [verifies keys.revoked.stream]', async () => {
  const keys = await keysOver();
  const expiresAt = new Date(clock.now() + 5_000).toISOString();
  const [short, long] = await Promise.all([
    keys.create(owner, { name: 'short', scopes: ['runs'], roles: [], expiresAt }),
    keys.create(owner, { name: 'long', scopes: ['runs'], roles: [] }),
  ]);
  const stand = () => Promise.all([short, long].map(({ id }) => keys.stillStands({ ...owner, id })));
  expect(await stand()).toEqual([true, true]);
  await keys.revoke(owner, long.id);
  clock.advance(1_000);
  expect(await stand()).toEqual([true, false]);
  clock.advance(4_000);
  expect(await stand()).toEqual([false, false]);
});
