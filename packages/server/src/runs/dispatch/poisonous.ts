import type { ErrorInfo } from '@nexus-agent/protocol';
import type { ClaimedRun } from '#storage';

/** Deaths of workers that had nothing else to die of. */
const maxDeathsAlone = 3;
/** Whatever else its workers drove: one that kills late is cleared each time before it does. */
const maxDeaths = 10;

/** A run that kills its workers; null where that is not known. */
export function poisonous({ deaths, diedAlone }: Pick<ClaimedRun, 'deaths' | 'diedAlone'>): ErrorInfo | null {
  if (!(diedAlone && deaths >= maxDeathsAlone) && deaths < maxDeaths) return null;
  return {
    code: 'poisonous',
    message: `the process that drove the run died ${deaths} times before a call of it had an outcome${diedAlone ? ', the last time with nothing else to do' : ''}; find out from the log what killed it before you resume the run`,
    retryable: false,
    details: { deaths },
  };
}
