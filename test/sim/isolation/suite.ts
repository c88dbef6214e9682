import { createChance, createRowChecks, Violation } from '../../../packages/server/src/apps/testing/index.ts';
import type { Driver } from '../../../packages/server/src/storage/drivers/index.ts';
import { checkPromises } from './promises.ts';
import type { TurnsDatabase } from './turns.ts';
import { createWorld, doWork, drawWorks, prepare } from './work.ts';

const rounds = 14;

export interface Told {
  readonly works: number;
  readonly statements: number;
  readonly unheard: number;
  /** Statements that went to the database while another waited for a lock, or began within another's transaction. */
  readonly between: number;
}

/**
 * One world, from one seed: in each round every node does one thing, in an order of their statements that the seed decides; once all are
 * done, what must hold is looked at. Throws a {@link Violation} whose message ends with the seed and what happened in that round.
 */
export async function runSeed(database: TurnsDatabase, seed: string): Promise<Told> {
  const chance = createChance(seed);
  const plan = chance.fork('plan');
  const turns = chance.fork('turns');
  await empty(database);
  const world = await createWorld(database.stores);
  const checker = createRowChecks(asDriver(database));
  const isRough = chance.fork('faults').hits(0.4);
  const faults = isRough ? { lostAnswers: 0.1, cuts: 0.01 } : { lostAnswers: 0, cuts: 0 };
  const sum = { statements: 0, between: 0 };
  await checker.everything();
  database.trace();
  for (let round = 0; round < rounds; round++) {
    const { theme, works: names } = drawWorks(plan, world.workers.length);
    await prepare(theme, names, world, plan);
    const works = names.map((name, index) => {
      const worker = world.workers[index];
      if (worker === undefined) throw new Error('there is a node for each work');
      const own = createChance(`${seed}/${round}/${index}`);
      return () => doWork(name, world, worker, own);
    });
    try {
      await database.interleave(works, turns, faults);
      await checker.everything();
      await checkPromises(database, world);
    } catch (error) {
      const [kind, message] = error instanceof Error ? [error.name, error.message] : ['Error', String(error)];
      const told = `${kind} ${message}\nNEXUS_TEST_SEED=${seed} on ${database.name}, round ${round} (${theme}): ${names.join(', ')}\n${database.trace().join('\n')}`;
      throw error instanceof Violation ? new Violation(told) : new Error(told, { cause: error });
    }
    const trace = database.trace();
    sum.statements += trace.length;
    sum.between += trace.filter((line) => /waits\]|within/.test(line)).length;
  }
  return { works: world.said.did, unheard: world.said.unheard, ...sum };
}

/** As it was before the first seed. */
async function empty(database: TurnsDatabase): Promise<void> {
  const names = await database.query(
    database.name === 'sqlite'
      ? "select name from sqlite_master where type = 'table' and name <> 'schema_migrations'"
      : "select tablename as name from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'",
  );
  if (database.name === 'postgres') await database.query(`truncate ${names.map(({ name }) => `"${name}"`).join(', ')}`);
  else for (const { name } of names) await database.query(`delete from "${name}"`);
}

/** Enough of a driver for checks, which read in their own words. */
function asDriver(database: TurnsDatabase): Driver {
  let last: Promise<unknown> = Promise.resolve();
  /** One after the other: there is one connection. */
  const query = (sql: string) => {
    const next = last.then(() => database.query(sql));
    last = next.catch(() => undefined);
    return next;
  };
  const read: Driver['read'] = async (start) => {
    const program = start();
    let step = program.next();
    while (!step.done) {
      if (step.value.type !== 'raw') throw new Error('checks read in their own words');
      const rows = await query(step.value.sql);
      step = program.next({ rows, changes: 0 });
    }
    return step.value;
  };
  return {
    dialect: database.name,
    read,
    write: read,
    pool: () => ({ inUse: 0, idle: 1, waiting: 0 }),
    giveUp: () => undefined,
    close: async () => undefined,
  };
}
