import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep, setImmediate as soon } from 'node:timers/promises';
import type { Chance } from '../../../packages/server/src/apps/testing/index.ts';
import { systemClock, systemTimers } from '../../../packages/server/src/core/index.ts';
import { ledgerRules } from '../../../packages/server/src/ledger/index.ts';
import { createStore, type Driver, type Program } from '../../../packages/server/src/storage/drivers/index.ts';
import { openTestDriver } from '../../support/drivers.ts';
import { ids } from '../../support/stores.ts';
import { patienceMs, type TurnsDatabase } from './turns.ts';
import { quotas } from './work.ts';

interface Call {
  readonly node: number;
  readonly what: 'read' | 'write';
  /** Carries it out, up to where it has to wait for another. */
  begin(): void;
}

/**
 * Nodes on one file, each with a connection. A program of the embedded database runs to its end without giving up the thread; between two
 * of its statements another node's runs, here inside of it, as it does in another process. What begins within a transaction
 * and ends after it sees the same as one within which that transaction lies: the order of the two ends makes no difference.
 */
export async function openSqliteTurns(nodes: number): Promise<TurnsDatabase> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-isolation-'));
  const drivers: Driver[] = [];
  for (let node = 0; node < nodes; node++) drivers.push(await openTestDriver({ dataDir }));
  const watcher = await openTestDriver({ dataDir });
  const asked: Call[] = [];
  let told: string[] = [];
  let under: Chance | null = null;
  /** Carried out and not answered yet: it waits for another process to end its transaction. */
  let open = 0;

  function* paced<R>(node: number, program: Program<R>): Program<R> {
    let step = program.next();
    while (!step.done) {
      step = program.next(yield step.value);
      while (under !== null && asked.length > 0 && under.hits(0.35)) begin(under, ` within n${node}`);
    }
    return step.value;
  }

  function begin(chance: Chance, where: string): void {
    const call = chance.pick(asked);
    asked.splice(asked.indexOf(call), 1);
    told.push(`n${call.node} ${call.what}${where}`);
    call.begin();
  }

  function turned(node: number, driver: Driver): Driver {
    const inTurn = <R>(what: 'read' | 'write', work: () => Promise<R>): Promise<R> => {
      if (under === null) return work();
      return new Promise((resolve, reject) => {
        asked.push({
          ...{ node, what },
          begin() {
            open += 1;
            work()
              .then(resolve, reject)
              .finally(() => {
                open -= 1;
              });
          },
        });
      });
    };
    return {
      ...driver,
      read: (start, limits) => inTurn('read', () => driver.read(() => paced(node, start()), limits)),
      write: (start, limits) => inTurn('write', () => driver.write(() => paced(node, start()), limits)),
    };
  }

  const stores = drivers.map((driver, node) =>
    createStore({ driver: turned(node, driver), ledgerRules, quotas, clock: systemClock, timers: systemTimers, ids, timeoutMs: 8_000 }),
  );

  return {
    name: 'sqlite',
    stores,
    query: (sql) =>
      watcher.write(function* look() {
        const { rows } = yield { type: 'raw', sql, params: [] };
        return rows as Readonly<Record<string, string | number | null>>[]; // what SQLite gives
      }),
    async interleave(works, chance) {
      under = chance;
      let ended = 0;
      const all = Promise.all(
        works.map((work) =>
          work().finally(() => {
            ended += 1;
          }),
        ),
      );
      const broken = all.catch(() => undefined);
      try {
        for (let since = performance.now(); ended < works.length; ) {
          if (performance.now() - since > patienceMs) throw new Error('nobody gets on');
          await soon();
          await soon();
          if (open > 0 || asked.length + ended < works.length) {
            await sleep(1);
            continue;
          }
          if (asked.length > 0) begin(chance, '');
          since = performance.now();
        }
      } finally {
        under = null;
        for (const call of asked.splice(0)) call.begin();
        await broken;
      }
      await all;
    },
    trace() {
      const lines = told;
      told = [];
      return lines;
    },
    async close() {
      for (const store of stores) await store.close();
      await watcher.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
