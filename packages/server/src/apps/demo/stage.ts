import type { styleText } from 'node:util';
import { systemClock } from '#core';
import { columns, elapsed, pad, plainText, shownWidth, wrap } from './words.ts';

export type Format = Parameters<typeof styleText>[0];

/** Where the demo speaks. `style` gives the text back as it is where there is no terminal. */
export interface StageOptions {
  readonly out: (text: string) => void;
  readonly style: (format: Format, text: string) => string;
}

export type Stage = ReturnType<typeof createStage>;

const indent = '    ';

/** Lays out what the demo prints: numbered sections with their time, indented lines, tables, and text as it is streamed. */
export function createStage({ out, style }: StageOptions) {
  let section = 0;
  let sectionStartedMs = 0;

  /** What does not fit goes on below, a little further in. */
  const line = (text = '') => {
    const room = columns - indent.length;
    const [first = '', ...rest] = shownWidth(text) > room ? wrap(text, room) : [text];
    out(first === '' ? '\n' : `${indent}${first}\n`);
    for (const row of wrap(rest.join(' '), room - 2)) if (row !== '') out(`${indent}  ${row}\n`);
  };

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
      const took = elapsed(systemClock.monotonic() - sectionStartedMs);
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
      const widths = head.map((name, index) => Math.max(name.length, ...rows.map((row) => shownWidth(row[index] ?? ''))));
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
          for (const char of plainText(text)) take(char);
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
