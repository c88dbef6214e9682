/** What every server process opens and closes, whichever part of the platform it serves. */
import type { NexusConfig } from '#apps/config';
import type { Bus } from '#bus';
import { type Clock, type IdSource, NexusError, type SecretValues, systemTimers } from '#core';
import { ledgerRules } from '#ledger';
import type { Quotas, SharedClock, Store } from '#storage';
import { openStore } from '#storage/drivers';
import type { Logger } from '#telemetry';
import { busKind, openBusOf } from './bus-kind.ts';
import type { InvariantWatch } from './invariants.ts';
import { createOutage } from './outages.ts';
import { makePrivate } from './private-files.ts';

interface DatabaseParts extends Pick<InvariantWatch, 'onBroken'> {
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly logger: Logger;
  readonly signal: AbortSignal | undefined;
}

export function openDatabase(config: NexusConfig, { clock, ids, logger, onBroken, signal }: DatabaseParts): Promise<Store> {
  return openStore({
    ...storeOptions(config),
    ...{ ledgerRules, clock, timers: systemTimers, ids, transaction: config.transaction, quotas: quotasOf(config), onBroken, signal },
    onNotice: (message) => logger.warn({}, message),
  }).catch((error: unknown) => {
    if (signal?.aborted !== true) logger.error({ err: error }, 'the database could not be opened');
    throw error;
  });
}

/** What carries news between the processes of a database. */
export function openConfiguredBus(config: NexusConfig, { logger, clock }: Pick<DatabaseParts, 'logger' | 'clock'>): Promise<Bus> {
  const kind = busKind(config);
  const meanwhile = 'other processes hear of changes later, by looking';
  return openBusOf(kind, {
    outage: createOutage({ logger, clock, name: `bus (${kind.kind})`, meanwhile }),
    onError: (error) => logger.error({ err: error }, 'a listener of the bus failed'),
  });
}

/** A data folder that was there may be open to others. */
export async function keepPrivate(dataDir: string, logger: Logger): Promise<void> {
  const { changed, notes } = await makePrivate(dataDir);
  if (changed > 0) logger.info({ changed }, 'files of the data folder could be read by others of this machine, and cannot any more');
  for (const note of notes) logger.warn({}, note);
}

export async function closeInTurn(closers: readonly (() => Promise<void> | void)[], logger?: Logger): Promise<void> {
  const failures: unknown[] = [];
  for (const close of closers) {
    try {
      await close();
    } catch (error) {
      failures.push(error); // what is left must be closed all the same
    }
  }
  const others = failures.filter((error) => !(error instanceof NexusError && error.code === 'storage_unavailable'));
  if (failures.length > others.length)
    logger?.warn({}, 'the database could not be told that this process ends: others take its runs over once its lease has ended');
  if (others.length > 0) throw new AggregateError(others, 'not everything could be closed');
}

/** How often the clock of this process is compared with the database's. */
const followMs = 15_000;

/** Keeps the clock right for as long as the store is open; the result ends that. */
export function keepFollowing(clock: SharedClock, store: Store, logger: Logger): () => Promise<void> {
  let reading = Promise.resolve();
  const cancel = systemTimers.every(followMs, () => {
    reading = clock
      .follow(() => store.now())
      .catch((error: unknown) => logger.warn({ err: error }, 'the clock could not be compared with that of the database'));
  });
  return async () => {
    cancel();
    await reading;
  };
}

export function storeOptions({ databaseUrl, dataDir, sqlite, postgres, storage }: NexusConfig) {
  const place = databaseUrl === undefined ? { dataDir } : { url: databaseUrl };
  return { ...place, ...sqlite, ...postgres, ...storage };
}

function quotasOf({ quotas, workspace: { maxFiles, maxBytes, maxNames }, tools }: NexusConfig): Quotas {
  const { maxCount, maxSessionBytes } = tools.artifacts;
  return { tenant: quotas, tree: { maxFiles, maxBytes, maxNames }, artifacts: { maxCount, maxBytes: maxSessionBytes } };
}

/** What a database or a server said of its settings may repeat them. The stack and the cause are those of the error that came. */
export function clearedOfSecrets(error: unknown, known: SecretValues): unknown {
  if (!(error instanceof Error)) return error;
  const message = known.inErrors(error.message);
  if (message === error.message) return error;
  return error instanceof NexusError ? new NexusError(error.code, message) : new Error(message);
}
