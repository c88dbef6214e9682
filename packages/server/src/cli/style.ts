import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];
export type Style = (format: Format, text: string) => string;

/** Colours where the output is a terminal and nobody asked for none (https://no-color.org). */
export function createStyle(output: { isTty: boolean }, env: Readonly<Record<string, string | undefined>>, wanted = true): Style {
  const noColor = env.NO_COLOR !== undefined && env.NO_COLOR !== '';
  const enabled = wanted && !noColor && (output.isTty || (env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '0'));
  return (format, text) => (enabled ? styleText(format, text, { validateStream: false }) : text);
}

/**
 * Text of a model or tool, made safe for a terminal: control characters go, so that it cannot move the cursor or imitate
 * our own lines, and marks that reverse the reading order are shown as what they are.
 */
export function clean(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '').replace(/[\u202a-\u202e\u2066-\u2069]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16)}`);
}

/** A value on one line, cut to a length. */
export function brief(value: unknown, limit = 100): string {
  const text = clean(typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).replace(/\s+/g, ' ');
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}

export function usd(microUsd: number): string {
  return `$${(microUsd / 1_000_000).toFixed(Math.abs(microUsd) < 10_000 ? 6 : 4)}`;
}

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}

/** Rows in columns as wide as they need to be; the head is dimmed. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], style: Style): string {
  const widths = head.map((name, index) => Math.max(name.length, ...rows.map((row) => row[index]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd();
  return [style('dim', line(head)), ...rows.map(line)].join('\n');
}

/** Names and values under one another; absent values are left out. */
export function fields(entries: readonly (readonly [string, string | undefined])[], style: Style): string {
  const shown = entries.filter((entry): entry is readonly [string, string] => entry[1] !== undefined);
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${style('dim', name.padEnd(width))}  ${value}`).join('\n');
}
