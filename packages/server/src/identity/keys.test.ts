import { TenantId } from '@nexus-agent/protocol';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createIdSource, NexusError, systemTimers } from '#core';
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

it('a key is made once and told to whoever asked, whatever answers of the database are lost [verifies durability.lost-answers]', async () => {
  const lost = () => {
    throw new NexusError('storage_unavailable', 'the database cannot be reached while a change was written; it may have happened');
  };
  const request = { name: 'ci', scopes: ['runs' as const], roles: [] };
  const byClaim = await keysOver({ ...store, commit: (commit) => store.commit(commit).then(lost) });
  await expect(byClaim.create(owner, request, { idempotencyKey: 'a' })).rejects.toMatchObject({ code: 'storage_unavailable' });
  let answers = 0;
  const byRow = await keysOver({ ...store, putKey: (row) => store.putKey(row).then((put) => (answers++ === 0 ? lost() : put)) });
  const again = await byRow.create(owner, request, { idempotencyKey: 'a' });
  expect(await byRow.authenticate(again.secret ?? '')).toMatchObject({ id: again.id });
  expect(await byRow.create(owner, request, { idempotencyKey: 'a' })).toEqual({ ...again, secret: undefined });

  const keys = await keysOver();
  const made = await Promise.all(Array.from({ length: 8 }, () => keys.create(owner, request, { idempotencyKey: 'b' })));
  expect(new Set(made.map(({ id }) => id)).size).toBe(1);
  expect(made.filter(({ secret }) => secret !== undefined)).toHaveLength(1);
  expect((await keys.list(owner, { limit: 10 })).data).toHaveLength(2);
  await expect((await keysOver({ ...store, putKey: async () => lost() })).create(owner, request)).rejects.toMatchObject({
    code: 'storage_unavailable',
  });
});
