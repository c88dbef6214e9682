import type { RunId, TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { systemTimers } from '#core';
import { createSharedLook } from './shared-look.ts';

const tenant = (name: string) => name as TenantId; // a name is enough
const run = (number: number) => `run_${number}` as RunId;

it('is one query for all that is asked at a time, however many ask for the same', async () => {
  const queries: (readonly RunId[])[] = [];
  const look = createSharedLook({
    timers: systemTimers,
    async read(_tenant, runIds) {
      queries.push(runIds);
      return new Map(runIds.filter((id) => id !== run(2)).map((id) => [id, Number(id.slice(4))]));
    },
  });
  const asked = Array.from({ length: 300 }, (_, at) => look(tenant('a'), run(at % 3)));
  expect(await Promise.all(asked)).toEqual(asked.map((_, at) => [0, 1, null][at % 3]));
  expect(queries).toEqual([[run(0), run(1), run(2)]]);
  await Promise.all([look(tenant('a'), run(0)), look(tenant('b'), run(0))]);
  await Promise.all(Array.from({ length: 1_001 }, (_, at) => look(tenant('a'), run(at))));
  expect(queries.map(({ length }) => length)).toEqual([3, 1, 1, 500, 500, 1]);
});

it('fails for those whose query failed, and for nobody else', async () => {
  const look = createSharedLook({
    timers: systemTimers,
    read: async (tenantId) => (tenantId === 'away' ? Promise.reject(new Error('gone')) : new Map([[run(1), 4]])),
  });
  const [away, here] = await Promise.allSettled([look(tenant('away'), run(1)), look(tenant('here'), run(1))]);
  expect([away.status, here]).toEqual(['rejected', { status: 'fulfilled', value: 4 }]);
  expect(await look(tenant('here'), run(1))).toBe(4);
});
