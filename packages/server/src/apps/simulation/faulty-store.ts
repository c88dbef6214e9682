import { NexusError } from '#core';
import type { Driver, DriverLimits } from '#storage/drivers';
import type { Chance } from './chance.ts';
import type { Owner, World } from './world.ts';

/** What the way to the database is like, for everybody or for one node. */
export interface StoreWeather {
  /** Nothing gets there before this world time. */
  silentUntil: number;
  /** Until this world time, so likely is it that … */
  roughUntil: number;
  /** … a change is made and the answer to it lost. */
  lostAnswers: number;
  /** … something is refused before anything was done. */
  refusals: number;
}

export const calm = (): StoreWeather => ({ silentUntil: 0, roughUntil: 0, lostAnswers: 0, refusals: 0 });

export interface FaultyStoreOptions {
  readonly world: World;
  readonly owner: Owner;
  /** The database itself, which all nodes share. */
  readonly database: Driver;
  /** Of all nodes, and of this one. */
  readonly weather: readonly StoreWeather[];
  readonly chance: Chance;
  readonly timeoutMs: number;
  /** After each transaction that was committed. Throws what is wrong. */
  readonly onCommit: () => Promise<void>;
}

/** How long a request is on its way, and its answer. */
const way = { leastMs: 0.2, mostMs: 3, slowMs: 400, slow: 0.01 };

/**
 * The database as a node sees it over a network: requests take time, wait in silence, are refused, or are carried out without the node
 * ever hearing of it. Whether a request of a node that dies is carried out is decided when it is sent.
 */
export function createFaultyDriver({ world, owner, database, weather, chance, timeoutMs, onCommit }: FaultyStoreOptions): Driver {
  const wayMs = () => (chance.hits(way.slow) ? chance.next() * way.slowMs : way.leastMs + chance.next() * (way.mostMs - way.leastMs));
  const roughest = (of: 'lostAnswers' | 'refusals') => Math.max(...weather.map((each) => (each.roughUntil > world.now ? each[of] : 0)));
  let givenUp = false;

  function ask<R>(carryOut: () => Promise<R>, isChange: boolean, { withinMs = timeoutMs }: DriverLimits = {}): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      if (givenUp) return reject(new NexusError('storage_unavailable', 'the store is closed; try again'));
      const goesOnAlone = chance.hits(0.5);
      const refused = chance.hits(roughest('refusals'));
      const answerLost = isChange && chance.hits(roughest('lostAnswers'));
      let isOpen = true;
      const cancelLimit = world.after(withinMs, owner, () => fail('the database did not answer in time'));
      const fail = (why: string) => {
        if (!isOpen) return;
        isOpen = false;
        cancelLimit();
        reject(new NexusError('storage_unavailable', `${why}; try again`));
      };
      const answer = (settle: () => void) =>
        world.after(wayMs(), owner, () => {
          if (!isOpen) return;
          isOpen = false;
          cancelLimit();
          settle();
        });

      const arrive = () => {
        if (!isOpen || (owner.gone && !goesOnAlone)) return;
        const silentUntil = Math.max(...weather.map((each) => each.silentUntil));
        if (silentUntil > world.now) return void world.after(silentUntil - world.now, null, arrive);
        if (refused) return void world.after(wayMs(), owner, () => fail('the connection to the database was refused'));
        const carriedOut = carryOut();
        // At once: nothing else reads or changes the database in between.
        const checked = isChange ? carriedOut.then(onCommit, () => undefined) : undefined;
        checked?.catch((error: unknown) => world.fail(error));
        carriedOut.then(
          (result) => {
            if (answerLost) {
              world.say(owner.name, 'store: the answer to a change is lost');
              world.after(wayMs(), owner, () => fail('the connection to the database was lost'));
            } else answer(() => resolve(result));
          },
          (error: unknown) => answer(() => reject(error)),
        );
      };
      world.after(wayMs(), null, arrive);
    });
  }

  return {
    dialect: database.dialect,
    read: (start, limits) => ask(() => database.read(start), false, limits),
    write: (start, limits) => ask(() => database.write(start), true, limits),
    pool: () => database.pool(),
    giveUp() {
      givenUp = true;
    },
    close: async () => undefined,
  };
}
