import type { IdSource } from '#core';
import type { Logger } from '#telemetry';

export interface LastWordsOptions {
  readonly logger: Pick<Logger, 'error' | 'warn'>;
  readonly ids: IdSource;
  /** Ends this process at once. */
  readonly exit: (code: number) => void;
  /** What is driven here, whose lease ends by itself. */
  readonly liveRuns: () => number;
}

const failure = 1;

/**
 * What nobody caught ends the process: what it has in memory cannot be trusted any more. It is told in the log first, redacted and under an
 * id; Node would print it as it is. Runs are left as they are: their lease ends, and another process, or this one once it is started again,
 * takes them up. What Node warns of is told there, too: printed, it would stand between the lines of the log and be none. Gives the
 * function that stops it.
 */
export function tellUncaught({ logger, ids, exit, liveRuns }: LastWordsOptions): () => void {
  const end = (error: unknown, origin: string) => {
    try {
      logger.error(
        { err: error, origin, errorId: ids.next<string>('error'), runs: liveRuns() },
        'nobody caught this error: the process ends, and its runs are taken up by others or by its next start',
      );
    } finally {
      exit(failure);
    }
  };
  const onRejection = (reason: unknown) => end(reason, 'unhandledRejection');
  const onWarning = (warning: Error) => logger.warn({ err: warning }, 'Node.js warns');
  const printers = process.listeners('warning');
  process.removeAllListeners('warning');
  process.on('uncaughtException', end);
  process.on('unhandledRejection', onRejection);
  process.on('warning', onWarning);
  return () => {
    process.off('uncaughtException', end);
    process.off('unhandledRejection', onRejection);
    process.off('warning', onWarning);
    for (const printer of printers) process.on('warning', printer);
  };
}
