import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '#core';
import type { UsageSum } from '#storage/contract';
import { type Driver, openDriver, type Result } from '#storage/drivers';
import type { Program } from '#storage/program';
import { createUsage } from './usage.ts';

const range = { by: 'user', from: '2026-01-01', to: '2026-12-31' } as const;
let database: Driver;
/** Pieces that are being read, and the most rows that one gave. */
let [reading, mostReading, mostRows, reads] = [0, 0, 0, 0];
const watched: Pick<Driver, 'read' | 'write'> = {
  write: (start, limits) => database.write(start, limits),
  async read(start, limits) {
    reads += 1;
    reading += limits?.when === 'in_turn' ? 1 : 0;
    mostReading = Math.max(mostReading, reading);
    const result = await database.read(start, limits);
    if (Array.isArray(result)) mostRows = Math.max(mostRows, result.flat().length);
    await Promise.resolve();
    reading -= limits?.when === 'in_turn' ? 1 : 0;
    return result;
  },
};

const names = (day: number) =>
  `case when i % 50 = 7 then '\u{1f600}' when i % 50 = 8 then '\uff5e' else 'user ' end || (i * ${day} % 1300)`;

beforeAll(async () => {
  database = await openDriver({ url: 'sqlite::memory:', synchronous: 'NORMAL', timeoutMs: 1_000, clock: systemClock });
  const insert = (sql: string) =>
    database.write(function* () {
      yield { type: 'raw', sql, params: [] };
    });
  for (let day = 1; day <= 25; day++) {
    const date = `2026-05-${String(day).padStart(2, '0')}`;
    // Some days have many names and some have few.
    await insert(`with recursive n(i) as (select 0 union all select i + 1 from n where i < ${day % 3 === 0 ? 20 : 1_200})
      insert or ignore into usage_days select 'acme', 'user', '${date}', ${names(day)}, 1, i % 400, ${day}, 0, 1 from n`);
    await insert(`insert into usage_days values ('acme', 'tenant', '${date}', '', 1, 1, 1, 1, 1)`);
  }
});
afterAll(() => database.close());

async function expected(): Promise<readonly UsageSum[]> {
  const { rows } = await database.read(function* (): Program<Result> {
    return yield {
      type: 'raw',
      sql: `select name, sum(settlements) as settlements, sum(cost_micro_usd) as cost, sum(tokens) as tokens, sum(wall_ms) as wall
        from usage_days where dimension = 'user' group by name`,
      params: [],
    };
  });
  const sums = (rows as Record<string, unknown>[]).map((row) => ({
    name: String(row.name),
    settlements: Number(row.settlements),
    amounts: { costMicroUsd: Number(row.cost), tokens: Number(row.tokens), toolCalls: 0, wallMs: Number(row.wall) },
  }));
  return sums.sort((a, b) => b.amounts.costMicroUsd - a.amounts.costMicroUsd || (a.name < b.name ? -1 : 1));
}

it('sums up names over days of very different sizes, whatever their letters, a piece at a time', async () => {
  const usage = createUsage(watched);
  const found: UsageSum[] = [];
  let cursor: string | null = null;
  do {
    const page = await usage('acme', range, { limit: 700, ...(cursor === null ? {} : { cursor }) });
    found.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  expect(found).toEqual(await expected());
  expect(mostRows).toBeLessThanOrEqual(1_000);
});

it('makes one such answer of a tenant at a time, and none for who has left [verifies hostile.shares.usage]', async () => {
  const usage = createUsage(watched);
  const gone = new AbortController();
  [mostReading, reads] = [0, 0];
  await usage('acme', range, { limit: 1 });
  const each = reads;
  reads = 0;
  const asked = Array.from({ length: 40 }, (_, at) => usage('acme', range, { limit: 1 }, at < 3 ? undefined : gone.signal));
  gone.abort(new Error('gone'));
  const answers = await Promise.allSettled(asked);
  expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
  // Each looks whether all is summed up before it hears of that.
  expect(reads).toBeLessThanOrEqual(3 * each + 37);
  expect(mostReading).toBe(1);
});
