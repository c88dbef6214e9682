import { type DestinationStream, destination, type Level, pino } from 'pino';
import { type Clock, noSecrets, redactFields, redactText, type SecretValues, systemClock, toTimestamp } from '#core';
import { visible } from '#core/visible';
import { createPrettyStream } from './pretty.ts';

export type LogLevel = Level | 'silent';

/** A log of events: what happened as the message, with what as the fields. Both are redacted before they are written. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** A logger that adds these fields to each of its lines. */
  child(fields: object): Logger;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Lines for people instead of JSON. */
  readonly pretty?: boolean | undefined;
  readonly clock?: Clock;
  /** What no line may hold. */
  readonly secrets?: SecretValues;
  /** Where lines go; standard error when absent, so that standard output stays data. */
  readonly destination?: { write(line: string): unknown };
}

/** One JSON object per line. Lines are written before the call returns: the last ones before a crash are not lost. */
export function createLogger(options: LoggerOptions): Logger {
  const { clock = systemClock, secrets = noSecrets } = options;
  const sink = options.destination ?? standardError();
  const lines = options.pretty ? createPrettyStream(sink) : sink;
  // What JSON leaves as it is, and a terminal would obey, is an escape of JSON as well.
  const stream: DestinationStream = { write: (line) => void lines.write(options.pretty ? line : visible(line)) };
  return wrap(
    pino(
      {
        level: options.level,
        base: null,
        timestamp: () => `,"time":"${toTimestamp(clock.now())}"`,
        formatters: { level: (level) => ({ level }), log: (fields) => redactFields(fields, secrets) },
        messageKey: 'message',
        // Errors are data once they are redacted; pino would describe them again.
        serializers: { err: (value: unknown) => value },
      },
      stream,
    ),
    secrets,
  );
}

/** What cannot be written, as the terminal is gone, is lost: the work goes on, and so does a drain. Of a closed pipe pino knows itself. */
function standardError(): { write(line: string): unknown } {
  const stream = destination({ dest: 2, sync: true, maxLength: 1_000_000 });
  stream.on('error', () => undefined);
  return stream;
}

type Target = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'> & { child(fields: object): Target };

function wrap(target: Target, secrets: SecretValues): Logger {
  const clean = (message: string) => redactText(secrets.inText(message));
  return {
    debug: (fields, message) => target.debug(fields, clean(message)),
    info: (fields, message) => target.info(fields, clean(message)),
    warn: (fields, message) => target.warn(fields, clean(message)),
    error: (fields, message) => target.error(fields, clean(message)),
    child: (fields) => wrap(target.child(redactFields(fields, secrets)), secrets),
  };
}
