import { stripVTControlCharacters, type styleText } from 'node:util';
import type { BudgetAmounts } from '@nexus-agent/protocol';
import { systemClock } from '#core';

export type Format = Parameters<typeof styleText>[0];

/** Where the demo speaks. `style` gives the text back as it is where there is no terminal. */
export interface StageOptions {
  readonly out: (text: string) => void;
  readonly style: (format: Format, text: string) => string;
}

export type Stage = ReturnType<typeof createStage>;

/** Widest line. */
export const columns = 98;
const indent = '    ';

/** Lays out what the demo prints: numbered sections with their time, indented lines, tables, and text as it is streamed. */
export function createStage({ out, style }: StageOptions) {
  let section = 0;
  let sectionStartedMs = 0;

  const line = (text = '') => out(text === '' ? '\n' : `${indent}${text}\n`);

  return {
    style,
    title(text: string): void {
      out(`\n${style('bold', text)}\n`);
    },
    /** Begins the next section. */
    heading(text: string): void {
      section += 1;
      sectionStartedMs = systemClock.monotonic();
      const label = `${section}  ${text} `;
      out(`\n${style(['bold', 'cyan'], label)}${style('dim', '─'.repeat(Math.max(0, columns - label.length)))}\n`);
    },
    /** Ends the section with the time it took. */
    close(): void {
      const took = duration(systemClock.monotonic() - sectionStartedMs);
      out(`${style('dim', took.padStart(columns))}\n`);
    },
    line,
    /** Text over as many lines as it needs. */
    paragraph(text: string, format?: Format): void {
      for (const row of wrap(text, columns - indent.length)) line(format === undefined ? row : style(format, row));
    },
    /** Names and values under one another; a long value goes on below itself. */
    fields(entries: readonly (readonly [string, string])[]): void {
      const width = Math.max(...entries.map(([name]) => name.length));
      for (const [name, value] of entries) {
        const [first = '', ...rest] = wrap(value, columns - indent.length - width - 2);
        line(`${style('dim', name.padEnd(width))}  ${first}`);
        for (const row of rest) line(`${' '.repeat(width)}  ${row}`);
      }
    },
    /** Rows in columns as wide as they need to be; columns named in `right` are set to the right. */
    table(head: readonly string[], rows: readonly (readonly string[])[], right: readonly number[] = []): void {
      const widths = head.map((name, index) => Math.max(name.length, ...rows.map((row) => visible(row[index] ?? ''))));
      const cells = (row: readonly string[]) =>
        row
          .map((cell, index) => pad(cell, widths[index] ?? 0, right.includes(index)))
          .join('  ')
          .trimEnd();
      line(style('dim', cells(head)));
      for (const row of rows) line(cells(row));
    },
    /** Prints text piece by piece, wrapped at words, behind a bar. */
    speech(): Speech {
      const bar = `${indent}${style('dim', '│')} `;
      const width = columns - indent.length - 2;
      let column = 0;
      let word = '';
      let spaces = 0;
      const begin = () => {
        if (column === 0) out(bar);
      };
      const endWord = () => {
        if (word === '') return;
        if (column > 0 && column + spaces + word.length > width) {
          out('\n');
          column = 0;
        } else if (column > 0) {
          out(' '.repeat(spaces));
          column += spaces;
        }
        begin();
        out(word);
        column += word.length;
        word = '';
        spaces = 0;
      };
      const take = (char: string) => {
        if (char === '\n') {
          endWord();
          begin();
          out('\n');
          column = 0;
          spaces = 0;
        } else if (char === ' ') {
          endWord();
          spaces += 1;
        } else word += char;
      };
      return {
        write(text) {
          for (const char of clean(text)) take(char);
        },
        end() {
          endWord();
          if (column > 0) out('\n');
          column = 0;
        },
      };
    },
  };
}

interface Speech {
  write(text: string): void;
  end(): void;
}

/** Text of a model, tool or file without what could move the cursor or imitate our own lines. */
export function clean(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '').replaceAll('\t', '  ');
}

/** A value on one line, cut to a length. */
export function brief(value: unknown, limit: number): string {
  const text = clean(typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).replace(/\s+/g, ' ');
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}

export function usd(microUsd: number): string {
  return `$${(microUsd / 1_000_000).toFixed(6)}`;
}

export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function whole(value: number): string {
  return value.toLocaleString('en-US');
}

export function count(amount: number, noun: string): string {
  return `${whole(amount)} ${noun}${amount === 1 ? '' : 's'}`;
}

export function pad(text: string, width: number, right = false): string {
  const space = ' '.repeat(Math.max(0, width - visible(text)));
  return right ? space + text : text + space;
}

function visible(text: string): number {
  return stripVTControlCharacters(text).length;
}

/** Lines of at most `width` characters; what is longer than a line is cut where it must. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const part of text.split('\n')) {
    let current = '';
    for (const word of part.split(' ')) {
      if (current !== '' && visible(current) + 1 + visible(word) > width) {
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
    ...(costMicroUsd === undefined ? [] : [usd(costMicroUsd)]),
    ...(tokens === undefined ? [] : [`${whole(tokens)} tokens`]),
    ...(toolCalls === undefined ? [] : [count(toolCalls, 'tool call')]),
    ...(wallMs === undefined ? [] : [duration(wallMs)]),
  ].join(' · ');
}
