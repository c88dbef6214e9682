import { type Clock, systemClock } from '../../packages/server/src/core/index.ts';
import { openDriver } from '../../packages/server/src/storage/drivers/index.ts';
import type { Driver, Program, Request, Result } from '../../packages/server/src/storage/program/index.ts';
import type { DatabaseLocation } from './stores.ts';

/** A driver without a store on it. */
export function openTestDriver(location: DatabaseLocation, clock: Clock = systemClock): Promise<Driver> {
  return openDriver({ ...location, clock, maxConnections: 5, timeoutMs: 8_000 });
}

/** The same, with each program run as `changed` has it. */
function withPrograms(driver: Driver, changed: <R>(program: Program<R>) => Program<R>): Driver {
  return {
    ...driver,
    read: (start, limits) => driver.read(() => changed(start()), limits),
    write: (start, limits) => driver.write(() => changed(start()), limits),
  };
}

/** The same, with a clock of the database that is off by what `offMs` says. */
export function withDatabaseClock(driver: Driver, offMs: () => number): Driver {
  return withPrograms(driver, function* tell(program) {
    let step = program.next();
    while (!step.done) step = program.next(moved(step.value, yield step.value, offMs()));
    return step.value;
  });
}

function moved(request: Request, result: Result, byMs: number): Result {
  if (request.type === 'now')
    return { ...result, rows: (result.rows as { now: number }[]).map(({ now }) => ({ now: Number(now) + byMs })) }; // as the drivers answer
  if (request.type !== 'all') return result;
  return { ...result, parts: (result.parts ?? []).map((part, index) => moved(request.requests[index] ?? request, part, byMs)) };
}
