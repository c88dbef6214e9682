import { stripVTControlCharacters } from 'node:util';
import type { BudgetAmounts } from '@nexus-agent/protocol';

/** Widest line. */
export const columns = 80;

/** Text of a model, tool or file without what could move the cursor or imitate our own lines. */
export function plainText(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '').replaceAll('\t', '  ');
}

/** A value on one line, cut to a length. */
export function oneLine(value: unknown, limit: number): string {
  const text = plainText(typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).replace(/\s+/g, ' ');
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}

export function dollars(microUsd: number): string {
  return `$${(microUsd / 1_000_000).toFixed(6)}`;
}

export function elapsed(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

export function counted(amount: number, noun: string): string {
  return `${grouped(amount)} ${noun}${amount === 1 ? '' : 's'}`;
}

export function pad(text: string, width: number, right = false): string {
  const space = ' '.repeat(Math.max(0, width - shownWidth(text)));
  return right ? space + text : text + space;
}

export function shownWidth(text: string): number {
  return stripVTControlCharacters(text).length;
}

/** Lines of at most `width` characters; what is longer than a line is cut where it must. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const part of text.split('\n')) {
    let current = '';
    for (const word of part.split(' ')) {
      if (current !== '' && shownWidth(current) + 1 + shownWidth(word) > width) {
        lines.push(current);
        current = word;
      } else current = current === '' ? word : `${current} ${word}`;
    }
    lines.push(current);
  }
  return lines;
}

/** Limits or amounts in words. */
export function amountsText({ costMicroUsd, tokens, toolCalls, wallMs }: BudgetAmounts): string {
  return [
    ...(costMicroUsd === undefined ? [] : [dollars(costMicroUsd)]),
    ...(tokens === undefined ? [] : [`${grouped(tokens)} tokens`]),
    ...(toolCalls === undefined ? [] : [counted(toolCalls, 'tool call')]),
    ...(wallMs === undefined ? [] : [elapsed(wallMs)]),
  ].join(' · ');
}
