import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPostgresTurns } from './postgres-turns.ts';
import { openSqliteTurns } from './sqlite-turns.ts';
import { runSeed, type Told } from './suite.ts';
import type { TurnsDatabase } from './turns.ts';

const nodes = 4;
/** One seed alone, as a failure prints it. */
const only = process.env.NEXUS_TEST_SEED;

/** Transactions of several nodes, interleaved from seeds, on both databases. */
export function describeIsolation(mark: string, seeds: number, from = 1): void {
  const wanted = only === undefined ? Array.from({ length: seeds }, (_, index) => String(from + index)) : [only];
  for (const name of ['sqlite', 'postgres'] as const) {
    describe(`transactions of ${nodes} nodes on ${name}`, () => {
      let database: TurnsDatabase | { readonly reason: string } | undefined;
      beforeAll(async () => {
        database = await (name === 'sqlite' ? openSqliteTurns(nodes) : openPostgresTurns(nodes));
      }, 60_000);
      afterAll(async () => {
        if (database !== undefined && 'close' in database) await database.close();
      });
      it(`keep the promises in whatever order their statements come, from ${wanted.length} seeds ${mark}`, {
        timeout: 30_000 + wanted.length * 20_000,
      }, async (context) => {
        if (database === undefined) throw new Error('the database was not opened');
        if ('reason' in database) return context.skip(database.reason);
        const told: Told[] = [];
        for (const seed of wanted) told.push(await runSeed(database, seed));
        const sum = (of: (each: Told) => number) => told.reduce((total, each) => total + of(each), 0);
        expect(sum(({ works }) => works)).toBeGreaterThan(20 * wanted.length);
        if (wanted.length > 3) expect(sum(({ between }) => between)).toBeGreaterThan(wanted.length);
      });
    });
  }
}
