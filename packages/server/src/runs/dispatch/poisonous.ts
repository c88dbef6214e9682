import type { ErrorInfo } from '@nexus-agent/protocol';
import type { ClaimedRun } from '#storage';

/** So many more, whatever else its workers drove: one that kills late is cleared each time before it does. */
const moreDeaths = 7;

/** How often it may kill those that only have to end it. */
const vainEndings = 3;

/** One that kills its workers so often, however it is taken up, even to be ended, is taken up no more. */
export function setAsideAfter(maxDeaths: number): number {
  return maxDeaths + moreDeaths + vainEndings;
}

/** A run that kills its workers; null where that is not known. `maxDeaths`: of workers that had, the last time, nothing else to die of. */
export function poisonous({ deaths, diedAlone }: Pick<ClaimedRun, 'deaths' | 'diedAlone'>, maxDeaths: number): ErrorInfo | null {
  if (!(diedAlone && deaths >= maxDeaths) && deaths < maxDeaths + moreDeaths) return null;
  return {
    code: 'poisonous',
    message: `the process that drove the run died, or gave no sign of life for longer than its lease, ${deaths} times before a call of it had an outcome${diedAlone ? ', the last time with nothing else to do' : ''}; find out from the log what killed it, or held its thread (runs.leaseMs), before you resume the run`,
    retryable: false,
    details: { deaths },
  };
}
