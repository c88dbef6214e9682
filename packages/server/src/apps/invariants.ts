import type { BrokenInvariant, Clock, Invariant } from '#core';
import type { Logger, Metrics } from '#telemetry';

/** Whoever is told of commits that were refused because rows of the database contradict each other. */
export interface InvariantWatch {
  readonly onBroken: (broken: BrokenInvariant) => void;
  /** Counts from now on, and what came before. */
  count(metrics: Pick<Metrics, 'invariantBroken'>): void;
}

/** What is broken for one is mostly broken for all that come after it: each kind is told once in so long, with how many there were since. */
const quietMs = 60_000;

export function createInvariantWatch({
  logger,
  clock,
}: {
  readonly logger: Logger;
  readonly clock: Pick<Clock, 'monotonic'>;
}): InvariantWatch {
  const told = new Map<Invariant, { at: number; unsaid: number }>();
  const uncounted: Invariant[] = [];
  let counter: Pick<Metrics, 'invariantBroken'> | null = null;
  return {
    onBroken({ invariant, facts }) {
      if (counter === null) uncounted.push(invariant);
      else counter.invariantBroken(invariant);
      const before = told.get(invariant);
      if (before !== undefined && clock.monotonic() - before.at < quietMs) {
        before.unsaid += 1;
        return;
      }
      told.set(invariant, { at: clock.monotonic(), unsaid: 0 });
      const unsaid = before?.unsaid ?? 0;
      logger.error(
        { invariant, ...facts, ...(unsaid === 0 ? {} : { unsaid }) },
        'rows of the database contradict each other: a change was refused whole (docs/metrics.md, a broken invariant)',
      );
    },
    count(metrics) {
      counter = metrics;
      for (const invariant of uncounted.splice(0)) metrics.invariantBroken(invariant);
    },
  };
}
