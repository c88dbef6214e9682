import type { ErrorInfo } from '@nexus-agent/protocol';
import type { ClaimedRun } from '#storage';

/** So many more, whatever else its workers drove: one that kills late is cleared each time before it does. */
const moreDeaths = 7;
/** So many times it may kill who ends it. */
const deathsOfEnders = 3;

/** Deaths up to which a run is taken up: one with more kills even who only wants to end it. */
export function mostDeathsOf(maxDeaths: number): number {
  return maxDeaths + moreDeaths + deathsOfEnders - 1;
}

/** A run that kills its workers; null where that is not known. `maxDeaths`: of workers that had, the last time, nothing else to die of. */
export function poisonous({ deaths, diedAlone }: Pick<ClaimedRun, 'deaths' | 'diedAlone'>, maxDeaths: number): ErrorInfo | null {
  if (!(diedAlone && deaths >= maxDeaths) && deaths < maxDeaths + moreDeaths) return null;
  return {
    code: 'poisonous',
    message: `the process that drove the run died ${deaths} times before a call of it had an outcome${diedAlone ? ', the last time with nothing else to do' : ''}; find out from the log what killed it before you resume the run`,
    retryable: false,
    details: { deaths },
  };
}
