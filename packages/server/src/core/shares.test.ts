import { expect, it } from 'vitest';
import { createShares, type Holder } from '#core';

const of = (tenantId: string, sessionId = 'one'): Holder => ({ tenantId, sessionId });
const options = { what: 'things', places: 2, spare: 2, maxWaiting: 50, setting: 'things.maxWaiting' };

/** Enters and notes the order in which places were given out. */
function queue(shares: ReturnType<typeof createShares>) {
  const order: string[] = [];
  const leaves = new Map<string, () => void>();
  const enter = (name: string, holder: Holder) =>
    void shares.enter(holder).then((leave) => {
      order.push(name);
      leaves.set(name, leave);
    });
  const leave = async (name: string) => {
    leaves.get(name)?.();
    await settled();
  };
  return { order, enter, leave };
}
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

it('gives one tenant all places, and keeps the spare ones for others [verifies hostile.shares.turns]', async () => {
  const { order, enter, leave } = queue(createShares(options));
  for (let index = 0; index < 10; index++) enter(`a${index}`, of('a'));
  await settled();
  expect(order).toEqual(['a0', 'a1']);
  enter('b', of('b'));
  enter('c', of('c'));
  enter('d', of('d'));
  await settled();
  expect(order.slice(2)).toEqual(['b', 'c']);
  await leave('a0');
  expect(order.slice(4)).toEqual(['d']);
});

it('gives what becomes free to whoever has least, in turns [verifies hostile.shares.turns]', async () => {
  const shares = createShares({ ...options, places: 1, spare: 0 });
  const { order, enter, leave } = queue(shares);
  for (const name of ['a0', 'a1', 'a2', 'a3']) enter(name, of('a'));
  for (const name of ['b0', 'b1']) enter(name, of('b'));
  for (const name of ['c0']) enter(name, of('c', 'x'));
  await settled();
  for (const name of ['a0', 'a1', 'b0', 'c0', 'a2', 'b1', 'a3']) {
    expect(order.at(-1)).toBe(name);
    await leave(name);
  }
  expect(shares).toMatchObject({ inUse: 0, waiting: 0 });
});

it('gives it to whoever has fewest places, also where another one waits longer [verifies hostile.shares.turns]', async () => {
  const { order, enter, leave } = queue(createShares({ ...options, places: 4, spare: 0 }));
  for (const name of ['a0', 'a1']) enter(name, of('a'));
  enter('b0', of('b'));
  enter('c0', of('c'));
  for (const name of ['a2', 'b1']) enter(name, of(name.charAt(0)));
  await settled();
  expect(order).toEqual(['a0', 'a1', 'b0', 'c0']);
  await leave('c0');
  expect(order.slice(4)).toEqual(['b1']);
});

it('lets the sessions of a tenant take turns, and one more have a spare place than the tenant has places', async () => {
  const { order, enter, leave } = queue(createShares(options));
  for (let index = 0; index < 5; index++) enter(`long ${index}`, of('a', 'long'));
  enter('second', of('a', 'second'));
  enter('third', of('a', 'third'));
  enter('other', of('b'));
  await settled();
  expect(order).toEqual(['long 0', 'long 1', 'second', 'other']);
  await leave('second');
  expect(order.slice(4)).toEqual([]); // the last spare place is for tenants that have none
  await leave('other');
  expect(order.slice(4)).toEqual(['third']);
});

it('refuses what waits beyond the share of a tenant, saying how much and when to come again', async () => {
  const shares = createShares({ ...options, maxWaiting: 3, retryAfterMs: 5_000 });
  const { enter } = queue(shares);
  for (let index = 0; index < 5; index++) enter(`a${index}`, of('a'));
  await expect(shares.enter(of('a', 'other'))).resolves.toBeTypeOf('function'); // its own turn: no waiting
  await expect(shares.enter(of('a'))).rejects.toMatchObject({
    code: 'rate_limited',
    retryable: true,
    retryAfterMs: 5_000,
    details: { what: 'things', limit: 3, used: 3 },
  });
  await expect(shares.enter(of('b'))).resolves.toBeTypeOf('function');
});

it('forgets who gives up waiting, and gives no place twice', async () => {
  const shares = createShares({ ...options, places: 1, spare: 0 });
  const leave = await shares.enter(of('a'));
  const controller = new AbortController();
  const waits = shares.enter(of('b'), controller.signal);
  controller.abort(new Error('gone'));
  await expect(waits).rejects.toThrow('gone');
  expect(shares.waiting).toBe(0);
  leave();
  leave();
  expect(shares.inUse).toBe(0);
  expect(shares.tryEnter(of('a'))).toBeTypeOf('function');
  expect(shares.tryEnter(of('a'))).toBeUndefined();
  const late = shares.enter(of('c'));
  shares.close(new Error('closed'));
  await expect(late).rejects.toThrow('closed');
  await expect(shares.enter(of('d'))).rejects.toThrow('closed');
});
