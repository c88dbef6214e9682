import { visible, visibleLine } from '#core/visible';

/** Turns JSON log lines into lines for people: `12:00:01.234 INFO  message  key=value`, then the stack of an error. */
export function createPrettyStream(sink: { write(line: string): unknown }): { write(line: string): void } {
  return { write: (line) => void sink.write(prettyLine(line)) };
}

function prettyLine(line: string): string {
  const { time, level, message, err, ...fields } = JSON.parse(line) as Record<string, unknown>; // written by pino just before
  const shown = Object.entries(fields).map(
    ([name, value]) =>
      `${visibleLine(name)}=${visibleLine(typeof value === 'string' ? unmistakable(value) : (JSON.stringify(value) ?? ''))}`,
  );
  const head = `${String(time).slice(11, 23)} ${String(level).toUpperCase().padEnd(5)} ${visibleLine(String(message))}`;
  return `${[head, ...shown].join('  ')}\n${errorText(err)}`;
}

function errorText(error: unknown): string {
  if (error === null || typeof error !== 'object') return '';
  const { stack, message, cause } = error as { stack?: unknown; message?: unknown; cause?: unknown }; // each is checked by use
  const own = `  ${visible(String(stack ?? message ?? JSON.stringify(error))).replaceAll('\n', '\n  ')}\n`;
  return cause === undefined ? own : `${own}  caused by:\n${errorText(cause)}`;
}

/** A text that would read like further fields is put in quotes. */
function unmistakable(value: string): string {
  return /\s{2}|\s\S*=|^\s|\s$/.test(value) ? JSON.stringify(value) : value;
}
