import type { JournalEvent } from '@nexus-agent/protocol';
import { type Clock, settlesWithin, type Timers } from '#core';
import type { createRunSpans, Executor } from '#runs/drive';
import type { ClaimedRun, Queue } from '#storage';
import type { Logger } from '#telemetry';
import { type RunKey, runKey } from './keys.ts';
import type { Places } from './places.ts';

type RunSpans = ReturnType<typeof createRunSpans>;

export interface Alone {
  /** Nothing else is to be driven here. */
  readonly isClosed: boolean;
  /** Looks whether a suspect waits, and begins to drive it if it is its turn. Returns before the run ends; rejects when the store does. */
  look(): Promise<void>;
  /** Hears of what a run of this process has written. */
  wrote(key: RunKey, events: readonly JournalEvent[]): void;
  /** The same spans, which also tell {@link wrote}. */
  hearing(key: RunKey, spans: RunSpans): RunSpans;
  /** Takes up no suspect any more, and resolves once none is being taken up. */
  stop(): Promise<void>;
}

export interface AloneOptions {
  readonly store: Pick<Queue, 'claimSuspect' | 'hasSuspect' | 'clearSuspect'>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly workerId: string;
  readonly places: Places;
  readonly aloneMs: number;
  /** A run that killed its workers so often is left to lie. */
  readonly setAside: number;
  /** Takes a claimed run up; null when it is not driven. Never rejects. */
  readonly take: (row: ClaimedRun) => Promise<Executor | null>;
  /** Lets what is driven here end its calls and go back to the queue. */
  readonly handOver: () => void;
  /** Others may be driven here again. */
  readonly opened: () => void;
}

/** So many times as long as one suspect at most, a process keeps to suspects, and then as long to others. */
const turnFactor = 3;
const lookMs = 20;

/**
 * Drives runs alone whose workers died twice before a call of them had an outcome. While one is, nothing else is driven here: if
 * this process dies now, it died of that run, and nobody else loses anything. A run is alone until a call of it has an outcome, it leaves,
 * or {@link AloneOptions.aloneMs} passed: then others join it, and a later death says nothing of it.
 *
 * An empty process takes the next suspect at once. A busy one serves others for as long as it kept to suspects before, and then hands
 * over what it drives. Calls that do not end within that time are not waited for: a suspect that is driven beside them cannot be told to be
 * what killed the process.
 */
export function createAlone(options: AloneOptions): Alone {
  const { store, clock, timers, logger, workerId, places, aloneMs, setAside, take, handOver, opened } = options;
  let stopped = false;
  let isClosed = false;
  /** Suspects wait since then; null when none did as we looked last. */
  let waitingSince: number | null = null;
  let turn: Promise<void> | null = null;
  let current: { readonly key: RunKey; readonly gotOn: () => void } | null = null;

  /** False when something is driven here all the same. */
  async function becomeEmpty(): Promise<boolean> {
    const from = clock.monotonic();
    while (!places.isEmpty && !stopped && clock.monotonic() - from < aloneMs) {
      handOver();
      await timers.sleep(lookMs);
    }
    return places.isEmpty;
  }

  /** Drives one of them for as long as it is to be alone. False when there was none, or it is not to be waited for any longer. */
  async function driveNext(isAlone: boolean): Promise<boolean> {
    const leave = places.hold(1);
    try {
      const row = await store.claimSuspect(workerId, isAlone, setAside);
      if (row === null) return false;
      const key = runKey(row);
      const outcome = new Promise<void>((resolve) => {
        current = { key, gotOn: resolve };
      });
      const executor = await take(row);
      leave();
      if (executor === null) return true;
      logger.warn({ runId: row.runId, deaths: row.deaths, aloneMs }, 'a run whose processes died is driven alone');
      const isOver = await settlesWithin(timers, Promise.race([executor.done, outcome]), aloneMs);
      if (!isOver) await store.clearSuspect(row);
      return isOver;
    } finally {
      current = null;
      leave();
    }
  }

  async function driveSome(): Promise<void> {
    isClosed = true;
    try {
      let goesOn = !stopped && (await driveNext(await becomeEmpty()));
      const from = clock.monotonic();
      // One that got on is handed over, so that the next one is alone, too.
      while (goesOn && !stopped && clock.monotonic() - from < turnFactor * aloneMs)
        goesOn = (await becomeEmpty()) && (await driveNext(true));
    } catch (error) {
      logger.warn({ err: error }, 'a run that is to be driven alone could not be claimed; trying again');
    } finally {
      isClosed = false;
      waitingSince = null;
      turn = null;
      opened();
    }
  }

  const wrote: Alone['wrote'] = (key, events) => {
    if (current?.key !== key) return;
    if (events.some(({ type }) => type === 'model.completed' || type === 'tool.completed')) current.gotOn();
  };

  return {
    get isClosed() {
      return isClosed;
    },
    async look() {
      if (stopped || turn !== null) return;
      const waits = await store.hasSuspect(setAside);
      if (stopped || turn !== null) return;
      if (!waits) {
        waitingSince = null;
        return;
      }
      waitingSince ??= clock.monotonic();
      if (places.isEmpty || clock.monotonic() - waitingSince >= turnFactor * aloneMs) turn = driveSome();
    },
    wrote,
    hearing: (key, spans) => ({
      ...spans,
      wrote(events) {
        wrote(key, events);
        spans.wrote(events);
      },
    }),
    async stop() {
      stopped = true;
      await turn;
    },
  };
}
