import { randomUUID } from 'node:crypto';
import { styleText } from 'node:util';
import { createVisible, visible, visibleLine } from '#core/visible';

type Format = Parameters<typeof styleText>[0];
export type Style = (format: Format, text: string) => string;

/** Colours where the output is a terminal and nobody asked for none (https://no-color.org). */
export function createStyle(output: { isTty: boolean }, env: Readonly<Record<string, string | undefined>>, wanted = true): Style {
  const noColor = env.NO_COLOR !== undefined && env.NO_COLOR !== '';
  const enabled = wanted && !noColor && (output.isTty || (env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '0'));
  return (format, text) => {
    if (!enabled) return text;
    const [before = '', after = ''] = styleText(format, '\0', { validateStream: false }).split('\0');
    return `${marked(before)}${text}${marked(after)}`;
  };
}

/** Told to nobody: a text of others cannot have it. */
const mark = randomUUID();
const escapeSign = String.fromCharCode(0x1b);
const ownCodes = new RegExp(`${escapeSign}\\[([0-9;]*)m`, 'g');
const markedCodes = new RegExp(`<${mark} ([0-9;]*)>`);

/** A code of ours, on its way to the output. */
function marked(codes: string): string {
  return codes.replace(ownCodes, `<${mark} $1>`);
}

/**
 * What comes to an output, as it may be written there: all that a terminal would obey and nobody would see is written out, and only the
 * styles that {@link createStyle} gave become codes. All that the command line prints goes through here.
 */
export function createPrintable(): (text: string) => string {
  const show = createVisible();
  return (text) =>
    text
      .split(markedCodes)
      .map((piece, index) => (index % 2 === 1 ? `\u001b[${piece}m` : show(piece)))
      .join('');
}

/** A value on one line, cut to a length. */
export function brief(value: unknown, limit = 100): string {
  const text = visible((typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).slice(0, limit * 8)).replace(/\s+/g, ' ');
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
  const shown = rows.map((row) => row.map(visibleLine)); // a cell that ended its line could pass for a row
  const widths = head.map((name, index) => shown.reduce((most, row) => Math.max(most, row[index]?.length ?? 0), name.length));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd();
  return [style('dim', line(head)), ...shown.map(line)].join('\n');
}

/** Names and values under one another; absent values are left out, and further lines of one stand under its first. */
export function fields(entries: readonly (readonly [string, string | undefined])[], style: Style): string {
  const shown = entries.filter((entry): entry is readonly [string, string] => entry[1] !== undefined);
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown
    .map(([name, value]) => `${style('dim', name.padEnd(width))}  ${value.replaceAll('\n', `\n${' '.repeat(width + 2)}`)}`)
    .join('\n');
}
