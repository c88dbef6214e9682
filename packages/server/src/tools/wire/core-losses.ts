import type { Client } from '@grpc/grpc-js';
import type { Clock, Timers } from '#core';
import type { NextOfLost } from './remote-call.ts';

/** What is told of an agent core that is lost, in one line however many calls it had. */
export interface CoreLoss {
  readonly address: string;
  /** Calls that were under way there. */
  readonly calls: number;
  /** Of those: whether they took effect is put to a person, or the model is told to try again, or they are sent again. */
  readonly unknown: number;
  readonly failed: number;
  readonly sentAgain: number;
  /** Some of their names. */
  readonly tools: readonly string[];
  /** How the connection broke. */
  readonly why: string;
}

export interface LossOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'after'>;
  readonly address: string;
  readonly client: Pick<Client, 'waitForReady'>;
  readonly onLost: (loss: CoreLoss, message: string) => void;
  readonly onBack: (about: { readonly address: string; readonly outMs: number }, message: string) => void;
}

/** The calls of one connection end within moments of each other. */
const gatherMs = 200;
const lookMs = 5_000;
const maxNames = 10;

/** Says once that the agent core is lost and what becomes of its calls, and once that it is there again. */
export function createCoreLosses({ clock, timers, address, client, onLost, onBack }: LossOptions) {
  let gathered: { readonly counts: Record<NextOfLost, number>; readonly tools: Set<string>; readonly why: string } | null = null;
  let lostAt: number | null = null;
  let isWatching = false;
  let isClosed = false;

  function tell(): void {
    if (gathered === null) return;
    const { counts, tools, why } = gathered;
    gathered = null;
    const calls = counts.unknown + counts.failed + counts.sentAgain;
    const next = [
      ...(counts.unknown > 0 ? [`${counts.unknown} may have taken effect, and a person is asked`] : []),
      ...(counts.failed > 0 ? [`${counts.failed} can be tried again, and the model is told`] : []),
      ...(counts.sentAgain > 0 ? [`${counts.sentAgain} of code are sent again`] : []),
    ].join('; ');
    onLost(
      { address, calls, ...counts, tools: [...tools], why },
      `the agent core is lost, or the way to it; of the calls under way there (${calls}): ${next}`,
    );
    watch();
  }

  /** Also tries to connect, as nothing else may need to for long. */
  function watch(): void {
    if (isClosed || isWatching) return;
    isWatching = true;
    client.waitForReady(Date.now() + lookMs, (error) => {
      isWatching = false;
      if (isClosed || lostAt === null) return;
      if (error !== undefined) return watch();
      onBack({ address, outMs: Math.round(clock.monotonic() - lostAt) }, 'the agent core is reached again');
      lostAt = null;
    });
  }

  return {
    lost(toolName: string, next: NextOfLost, err: Error): void {
      if (gathered === null) {
        gathered = { counts: { unknown: 0, failed: 0, sentAgain: 0 }, tools: new Set(), why: err.message };
        timers.after(gatherMs, tell);
      }
      gathered.counts[next] += 1;
      if (gathered.tools.size < maxNames) gathered.tools.add(toolName);
      lostAt ??= clock.monotonic();
    },
    /** It was to be reached, and cannot be: whether nobody was told yet. */
    isNews(): boolean {
      if (lostAt !== null) return false;
      lostAt = clock.monotonic();
      watch();
      return true;
    },
    isAway: () => lostAt !== null,
    close(): void {
      isClosed = true;
      tell();
    },
  };
}
