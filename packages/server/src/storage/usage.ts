import type { PageOf, PageRequest, UsageQuery, UsageSum } from '#storage/contract';
import { cutPage, type Driver, startOf } from '#storage/program';
import { foldEntries, hasUnfolded, usageByDay } from '#storage/tables';
import { pieceRows } from './pieces.ts';
import { eachNameOfUsage } from './usage-names.ts';

/** Days are texts: this comes after all of them. */
const afterAll = '~';

export type ReadUsage = (tenant: string, query: UsageQuery, page: PageRequest, signal?: AbortSignal) => Promise<PageOf<UsageSum>>;

/**
 * Sums of what was booked in a range of days, which are kept by day and name in the transaction that books: days newest first, else what
 * cost most. Days are read in one statement. Names are summed up in pieces, each as it stands when it is read: what is booked meanwhile
 * is in the answer or not, entry by entry, and what was booked before is in it exactly. However many names there are, a page of them is
 * held; and of a tenant one such answer is made at a time, so that who asks many times over holds up nobody else.
 */
export function createUsage(driver: Pick<Driver, 'read' | 'write'>): ReadUsage {
  const inTurn = createLanes();
  return async (tenant, { by, ...range }, page, signal) => {
    // Once, after an earlier version booked.
    if (await driver.read(() => hasUnfolded(tenant)))
      while ((await driver.write(() => foldEntries(tenant, afterAll, pieceRows))) === pieceRows) signal?.throwIfAborted();
    if (by === 'day') return driver.read(() => usageByDay(tenant, range, page));
    const first = createFirst(page);
    await inTurn(tenant, () => eachNameOfUsage(driver, { tenant, by, ...range }, first.take, signal));
    return cutPage(
      first.rows(),
      page.limit,
      (sum) => sum,
      (sum) => [sum.amounts.costMicroUsd, sum.name],
    );
  };
}

/** The first sums of a page, and the one after them that tells of a next page. */
function createFirst(page: PageRequest) {
  const position = startOf(page, ['number', 'string']);
  const [cost, name] = [Number(position?.[0]), String(position?.[1])];
  const isAfter = (sum: UsageSum) => sum.amounts.costMicroUsd < cost || (sum.amounts.costMicroUsd === cost && sum.name > name);
  const order = (a: UsageSum, b: UsageSum) => b.amounts.costMicroUsd - a.amounts.costMicroUsd || (a.name < b.name ? -1 : 1);
  const most = page.limit + 1;
  let kept: UsageSum[] = [];
  const cut = () => {
    kept = kept.sort(order).slice(0, most);
  };
  return {
    take(sum: UsageSum): void {
      if (position !== undefined && !isAfter(sum)) return;
      kept.push(sum);
      if (kept.length >= 4 * most) cut();
    },
    rows(): readonly UsageSum[] {
      cut();
      return kept;
    },
  };
}

/** Work of one key at a time, in the order in which it came. */
function createLanes(): (key: string, work: () => Promise<void>) => Promise<void> {
  const last = new Map<string, Promise<void>>();
  return async (key, work) => {
    const before = last.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    last.set(key, promise);
    try {
      await before;
      await work();
    } finally {
      resolve();
      if (last.get(key) === promise) last.delete(key);
    }
  };
}
