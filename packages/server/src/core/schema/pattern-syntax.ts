import { dictionary } from '@nexus-agent/protocol';

/** A pattern as it is written: what a text must hold, in the form that {@link file://./pattern.ts} makes states of. */
export type Syntax =
  | { readonly type: 'empty' }
  /** One character. `source` is the part of the pattern that says which. */
  | { readonly type: 'set'; readonly source: string }
  | { readonly type: 'place'; readonly place: 'start' | 'end' | 'edge' | 'inside' }
  | { readonly type: 'sequence'; readonly items: readonly Syntax[] }
  | { readonly type: 'choice'; readonly items: readonly Syntax[] }
  /** `most` is Infinity where there is no limit. */
  | { readonly type: 'repeat'; readonly item: Syntax; readonly least: number; readonly most: number }
  | { readonly type: 'look'; readonly item: Syntax; readonly ahead: boolean; readonly negative: boolean };

/** What a pattern may be, so that making states of it and going through them stays cheap. */
const maxChars = 4_096;
const maxNesting = 100;
const maxStates = 20_000;

class PatternError extends Error {}

/** Reads a pattern of ECMA-262 (in unicode mode, as JSON Schema has it). Throws {@link PatternError} that says what is not taken. */
export function parsePattern(source: string): Syntax {
  if (source.length > maxChars) throw new PatternError(`a pattern has at most ${maxChars} characters; this has ${source.length}`);
  try {
    new RegExp(source, 'u');
  } catch (error) {
    throw new PatternError(
      error instanceof Error ? error.message.replace(/^Invalid regular expression: /, '').slice(-200) : 'is no pattern',
    );
  }
  const syntax = new Reader(source).read();
  if (statesOf(syntax) > maxStates) throw new PatternError('the repetitions in it make it too large; ask for fewer');
  return syntax;
}

/** So many states it becomes. */
export function statesOf(syntax: Syntax): number {
  switch (syntax.type) {
    case 'empty':
      return 0;
    case 'set':
    case 'place':
      return 1;
    case 'look':
      return 1 + statesOf(syntax.item);
    case 'sequence':
      return syntax.items.reduce((sum, item) => sum + statesOf(item), 0);
    case 'choice':
      return syntax.items.reduce((sum, item) => sum + 2 + statesOf(item), 0);
    case 'repeat':
      return 2 + (statesOf(syntax.item) + 1) * (syntax.most === Number.POSITIVE_INFINITY ? syntax.least + 1 : syntax.most);
  }
}

const places: Readonly<Record<string, 'edge' | 'inside'>> = dictionary({ b: 'edge', B: 'inside' });
const openings = [
  { text: '(?:', look: null },
  { text: '(?=', look: { ahead: true, negative: false } },
  { text: '(?!', look: { ahead: true, negative: true } },
  { text: '(?<=', look: { ahead: false, negative: false } },
  { text: '(?<!', look: { ahead: false, negative: true } },
];

/** Takes what the engine of JavaScript has taken already: it only needs to tell the parts apart. */
class Reader {
  readonly #source: string;
  #at = 0;
  #nesting = 0;

  constructor(source: string) {
    this.#source = source;
  }

  read(): Syntax {
    return this.#choice();
  }

  #choice(): Syntax {
    this.#nesting += 1;
    if (this.#nesting > maxNesting) throw new PatternError(`its groups nest deeper than ${maxNesting} levels`);
    const items = [this.#sequence()];
    while (this.#take('|')) items.push(this.#sequence());
    this.#nesting -= 1;
    return items.length === 1 && items[0] !== undefined ? items[0] : { type: 'choice', items };
  }

  #sequence(): Syntax {
    const items: Syntax[] = [];
    while (this.#at < this.#source.length && !this.#sees('|') && !this.#sees(')')) items.push(this.#repeated(this.#atom()));
    return items.length === 0 ? { type: 'empty' } : { type: 'sequence', items };
  }

  #repeated(item: Syntax): Syntax {
    const [least, most] = this.#counts();
    if (most === -1) return item;
    this.#take('?'); // whether it takes much or little first makes no difference to whether it fits
    return { type: 'repeat', item, least, most };
  }

  #counts(): readonly [number, number] {
    if (this.#take('*')) return [0, Number.POSITIVE_INFINITY];
    if (this.#take('+')) return [1, Number.POSITIVE_INFINITY];
    if (this.#take('?')) return [0, 1];
    if (!this.#sees('{')) return [0, -1];
    const end = this.#source.indexOf('}', this.#at);
    const [least = '0', most] = this.#source.slice(this.#at + 1, end).split(',');
    this.#at = end + 1;
    if (most === undefined) return [Number(least), Number(least)];
    return [Number(least), most === '' ? Number.POSITIVE_INFINITY : Number(most)];
  }

  #atom(): Syntax {
    if (this.#take('^')) return { type: 'place', place: 'start' };
    if (this.#take('$')) return { type: 'place', place: 'end' };
    if (this.#sees('(')) return this.#group();
    if (this.#sees('[')) return this.#class();
    if (this.#sees('\\')) return this.#escape();
    const char = String.fromCodePoint(this.#source.codePointAt(this.#at) ?? 0);
    this.#at += char.length;
    return { type: 'set', source: char };
  }

  #group(): Syntax {
    const opening = openings.find(({ text }) => this.#sees(text));
    if (opening !== undefined) this.#at += opening.text.length;
    else if (this.#sees('(?<')) this.#at = this.#source.indexOf('>', this.#at) + 1;
    else if (this.#sees('(?')) throw new PatternError('flags within a pattern, as in (?i:…), are not taken');
    else this.#at += 1;
    const item = this.#choice();
    this.#at += 1;
    return opening === undefined || opening.look === null ? item : { type: 'look', item, ...opening.look };
  }

  #class(): Syntax {
    const from = this.#at;
    while (!this.#sees(']')) this.#at += this.#sees('\\') ? 2 : 1;
    this.#at += 1;
    return { type: 'set', source: this.#source.slice(from, this.#at) };
  }

  #escape(): Syntax {
    const [whole = '\\'] =
      /^\\(?:[pPu]\{[^}]*\}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|c[A-Za-z]|k<[^>]*>|[0-9]+|[\s\S])/u.exec(
        this.#source.slice(this.#at, this.#at + 100),
      ) ?? [];
    this.#at += whole.length;
    if (/^\\[1-9k]/.test(whole))
      throw new PatternError(`${whole.slice(0, 20)} refers to what a group took, which no engine does in linear time`);
    const place = places[whole.slice(1)];
    return place === undefined ? { type: 'set', source: whole } : { type: 'place', place };
  }

  #sees(text: string): boolean {
    return this.#source.startsWith(text, this.#at);
  }

  #take(char: string): boolean {
    if (!this.#sees(char)) return false;
    this.#at += 1;
    return true;
  }
}
