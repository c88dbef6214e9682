import { type Clock, NexusError } from '#core';
import type { Store } from '#storage';
import type { Logger } from '#telemetry';

/** A time in which a server that this process depends on does not do what it should. */
export interface Outage {
  failed(error: unknown): void;
  worked(): void;
}

export interface OutageOptions {
  readonly logger: Logger;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** `database`. */
  readonly name: string;
  /** What is to be expected while it is away. */
  readonly meanwhile: string;
}

/** What answers reads and refuses writes is not well: so long nothing may have failed for an outage to be over. */
const quietMs = 3_000;
const awayMs = 2_000;

/** Says once that an outage has begun, and why, and once that it is over, and how long it took. */
export function createOutage({ logger, clock, name, meanwhile }: OutageOptions): Outage {
  let began: number | null = null;
  let lastFailure = 0;
  let workedAgain: number | null = null;
  let failures = 0;
  return {
    failed(error) {
      const now = clock.monotonic();
      if (began === null) {
        began = now;
        failures = 0;
        logger.warn({ why: reasonOf(error) }, `the ${name} cannot be used; until it is back, ${meanwhile}`);
      }
      failures += 1;
      lastFailure = now;
      workedAgain = null;
    },
    worked() {
      if (began === null) return;
      const now = clock.monotonic();
      workedAgain ??= now;
      if (now - lastFailure < quietMs) return;
      logger.info({ outMs: Math.round(workedAgain - began), failures }, `the ${name} is back`);
      began = null;
    },
  };
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join(', ');
  return error.message.replace(/; try again$/, '') || error.name;
}

/** The log of a process whose database may be away. */
export interface StoreOutages {
  /** The store, which tells here when it cannot be used. */
  watch(store: Store): Store;
  /** Something is asked of the database, and it has answered nothing for a while. */
  isAway(): boolean;
  /** The log, in which everybody's failures for want of the database are details. */
  readonly logger: Logger;
}

/** During an outage of the database everything fails, and its log should say so once, not once for each that tried. */
export function createStoreOutages({ logger, clock }: Pick<OutageOptions, 'logger' | 'clock'>): StoreOutages {
  const outage = createOutage({ logger, clock, name: 'database', meanwhile: 'runs wait and requests are refused' });
  const told = new WeakSet<object>();
  let pending = 0;
  /** When it last answered, or was asked after everything had been answered. */
  let lastWord = 0;
  const worked = () => {
    pending -= 1;
    lastWord = clock.monotonic();
    outage.worked();
  };
  const failed = (error: unknown) => {
    if (!(error instanceof NexusError) || error.code !== 'storage_unavailable') return worked();
    pending -= 1;
    for (let each: unknown = error; typeof each === 'object' && each !== null; each = each instanceof Error ? each.cause : null)
      told.add(each);
    outage.failed(error);
  };
  return {
    watch(store) {
      const watched = new Map<string | symbol, unknown>();
      return new Proxy(store, {
        get(target, name) {
          const found = watched.get(name);
          if (found !== undefined) return found;
          const value: unknown = Reflect.get(target, name);
          if (typeof value !== 'function' || name === 'close') return value;
          const call = (...given: unknown[]): unknown => {
            const result: unknown = value(...given);
            if (result instanceof Promise) {
              if (pending === 0) lastWord = clock.monotonic();
              pending += 1;
              result.then(worked, failed);
            }
            return result;
          };
          watched.set(name, call);
          return call;
        },
      });
    },
    isAway: () => pending > 0 && clock.monotonic() - lastWord > awayMs,
    logger: quiet(logger, (error) => typeof error === 'object' && error !== null && told.has(error)),
  };
}

function quiet(logger: Logger, isTold: (error: unknown) => boolean): Logger {
  const at =
    (level: 'warn' | 'error') =>
    (fields: object, message: string): void =>
      logger['err' in fields && isTold(fields.err) ? 'debug' : level](fields, message);
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => quiet(logger.child(fields), isTold),
  };
}
