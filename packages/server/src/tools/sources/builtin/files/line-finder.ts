import type { RE2JS } from 're2js';
import { NexusError } from '#core';
import { literalSearch } from './literal-search.ts';

/** Where in a line something is found first, and how much of it. */
export interface LineHit {
  readonly at: number;
  readonly length: number;
}

export interface LineFinder {
  find(line: string): LineHit | null;
  /** Lines are looked through so far. */
  readonly maxLineChars: number;
  /** Upper bound of what a character of a line costs, in steps of some 70 ns. */
  readonly stepsPerChar: number;
}

export interface Wanted {
  readonly query: string;
  readonly regex: boolean;
  readonly caseSensitive: boolean;
  /** Only where no letter, digit or `_` stands beside it. */
  readonly word: boolean;
}

/** Instructions of a compiled expression: each character of a line may cost a step for each of them. */
const maxProgram = 300;
/** Steps of one line: about 50 ms, during which nobody else has a turn. */
export const stepsOfTurn = 750_000;
const maxLineChars = 64 * 1024;

/** Finds a text, or a regular expression in the syntax of RE2, whose engine takes time proportional to the length of the line, whatever the expression. */
export async function lineFinder(wanted: Wanted): Promise<LineFinder> {
  const { query, regex, caseSensitive, word } = wanted;
  if (!regex && !word) {
    const fold = (text: string) => (caseSensitive ? text : text.toLowerCase());
    const find = literalSearch(fold(query));
    return {
      maxLineChars,
      stepsPerChar: 1,
      find(line) {
        const at = find(fold(line));
        return at < 0 ? null : { at, length: query.length };
      },
    };
  }
  const expression = await compile(wanted);
  const stepsPerChar = expression.programSize();
  if (stepsPerChar > maxProgram)
    throw new NexusError(
      'tool_input_invalid',
      `the expression is too large (${stepsPerChar} of ${maxProgram} instructions); repeat less in it`,
    );
  return {
    maxLineChars: Math.min(maxLineChars, Math.floor(stepsOfTurn / stepsPerChar)),
    stepsPerChar,
    find(line) {
      const matcher = expression.matcher(line);
      return matcher.find() ? { at: matcher.start(), length: matcher.end() - matcher.start() } : null;
    },
  };
}

/** Loaded by who needs it: a server starts sooner without it. */
async function compile({ query, regex, caseSensitive, word }: Wanted): Promise<RE2JS> {
  const { RE2JS, RE2JSException } = await import('re2js');
  const core = regex ? `(?:${query})` : RE2JS.quote(query);
  try {
    // By itself first: else what stands around it could make something else of it.
    if (regex) RE2JS.compile(query);
    return RE2JS.compile(word ? `\\b${core}\\b` : core, caseSensitive ? 0 : RE2JS.CASE_INSENSITIVE);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    throw new NexusError(
      'tool_input_invalid',
      `the expression does not compile: ${error.message.slice(0, 300)}. The syntax is that of RE2, without look-around and back-references`,
      { cause: error },
    );
  }
}
