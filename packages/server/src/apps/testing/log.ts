import type { Logger } from '#telemetry';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** A logger that keeps its lines as they were given, with the fields of its parents. */
export function createKeptLog(): { readonly logger: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const loggerWith = (parents: object): Logger => {
    const keep = (level: LogLine['level']) => (fields: object, message: string) => {
      lines.push({ level, fields: { ...parents, ...fields }, message });
    };
    return {
      debug: keep('debug'),
      info: keep('info'),
      warn: keep('warn'),
      error: keep('error'),
      child: (fields) => loggerWith({ ...parents, ...fields }),
    };
  };
  return { logger: loggerWith({}), lines };
}
