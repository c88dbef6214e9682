import { type Fuel, spend } from './fuel.ts';
import { parsePattern, type Syntax } from './pattern-syntax.ts';

/** A pattern that takes time in proportion to the text and to its own size, whatever both are. */
export interface Pattern {
  /** Whether the text holds what it asks for, as `RegExp` with the flag `u` would say. Spends what it takes. */
  test(text: string, fuel: Fuel): boolean;
}

/** Throws `PatternError` for one that is not taken. */
export function createPattern(source: string): Pattern {
  const syntax = parsePattern(source);
  const looks: Look[] = [];
  const program = compile(syntax, looks, false);
  return {
    test(text, fuel) {
      spend(fuel, 100);
      const known: Uint8Array[] = [];
      for (const look of looks) known.push(placesOf(look.program, text, known, fuel, look.ahead));
      return run(program, text, known, fuel, false, null);
    },
  };
}

/** At which places of the text something stands, ahead of them or behind. */
interface Look {
  readonly program: Program;
  readonly ahead: boolean;
}

type State =
  /** Takes one character, then goes on with the next state. */
  | { readonly type: 'set'; readonly set: CharacterSet }
  | { type: 'split'; a: number; b: number }
  | { type: 'jump'; to: number }
  | { readonly type: 'place'; readonly place: 'start' | 'end' | 'edge' | 'inside' }
  | { readonly type: 'look'; readonly look: number; readonly wanted: 0 | 1 }
  | { readonly type: 'match' };

interface Program {
  readonly states: readonly State[];
  /** Two lists of states, with the step in which each was last put there. */
  readonly lists: readonly [StateList, StateList];
  readonly stack: Int32Array;
}

interface StateList {
  readonly items: Int32Array;
  readonly marks: Int32Array;
  mark: number;
  count: number;
}

interface CharacterSet {
  has(char: number, fuel: Fuel): boolean;
}

/** @param backwards for a text that is read from its end */
function compile(syntax: Syntax, looks: Look[], backwards: boolean): Program {
  const states: State[] = [];
  const sets = new Map<string, CharacterSet>();
  emit(syntax);
  states.push({ type: 'match' });
  const size = states.length;
  const list = (): StateList => ({ items: new Int32Array(size), marks: new Int32Array(size).fill(-1), mark: 0, count: 0 });
  return { states, lists: [list(), list()], stack: new Int32Array(2 * size + 2) };

  function emit(part: Syntax): void {
    switch (part.type) {
      case 'empty':
        return;
      case 'set': {
        const set = sets.get(part.source) ?? createSet(part.source);
        sets.set(part.source, set);
        states.push({ type: 'set', set });
        return;
      }
      case 'place':
        states.push({ type: 'place', place: part.place });
        return;
      case 'look': {
        // What is ahead of a place is found from the end of the text.
        const program = compile(part.item, looks, part.ahead);
        states.push({ type: 'look', look: looks.push({ program, ahead: part.ahead }) - 1, wanted: part.negative ? 0 : 1 });
        return;
      }
      case 'sequence':
        for (const item of backwards ? part.items.toReversed() : part.items) emit(item);
        return;
      case 'choice': {
        const ends: { type: 'jump'; to: number }[] = [];
        for (const [index, item] of part.items.entries()) {
          if (index === part.items.length - 1) {
            emit(item);
            break;
          }
          const split = { type: 'split' as const, a: states.length + 1, b: 0 };
          states.push(split);
          emit(item);
          const end = { type: 'jump' as const, to: 0 };
          ends.push(end);
          states.push(end);
          split.b = states.length;
        }
        for (const end of ends) end.to = states.length;
        return;
      }
      case 'repeat': {
        for (let count = 0; count < part.least; count++) emit(part.item);
        if (part.most === Number.POSITIVE_INFINITY) {
          const split = { type: 'split' as const, a: states.length + 1, b: 0 };
          const from = states.push(split) - 1;
          emit(part.item);
          states.push({ type: 'jump', to: from });
          split.b = states.length;
          return;
        }
        const splits: { type: 'split'; a: number; b: number }[] = [];
        for (let count = part.least; count < part.most; count++) {
          const split = { type: 'split' as const, a: states.length + 1, b: 0 };
          splits.push(split);
          states.push(split);
          emit(part.item);
        }
        for (const split of splits) split.b = states.length;
      }
    }
  }
}

/** Which characters are meant is what JavaScript says of one character, asked once of each that comes often. */
function createSet(source: string): CharacterSet {
  const code = source.codePointAt(0) ?? 0;
  if (source !== '.' && source.length === (code > 0xffff ? 2 : 1)) return { has: (char) => char === code };
  /** 0: not asked yet, 1: no, 2: yes. */
  const ascii = new Uint8Array(128);
  let only: RegExp | undefined;
  return {
    has(char, fuel) {
      const known = char < 128 ? ascii[char] : 0;
      if (known !== 0) return known === 2;
      spend(fuel, only === undefined ? 4_000 : 10); // the engine makes a program of its own of it
      only ??= new RegExp(`^(?:${source})$`, 'u');
      const has = only.test(String.fromCodePoint(char));
      if (char < 128) ascii[char] = has ? 2 : 1;
      return has;
    },
  };
}

/** One for each place of the text where the program fits: what begins there when it reads from the end, what ends there else. */
function placesOf(program: Program, text: string, known: readonly Uint8Array[], fuel: Fuel, backwards: boolean): Uint8Array {
  spend(fuel, text.length / 8);
  const places = new Uint8Array(text.length + 1);
  run(program, text, known, fuel, backwards, places);
  return places;
}

/**
 * Goes through the text once, with all states that the program can be in: it may begin at each place.
 *
 * @param places is told where it fits, and the whole text is read; else it ends where it first does
 */
function run(
  { states, lists, stack }: Program,
  text: string,
  known: readonly Uint8Array[],
  fuel: Fuel,
  backwards: boolean,
  places: Uint8Array | null,
): boolean {
  const end = text.length;
  const last = states.length - 1;
  let [now, next] = lists;
  for (const list of lists) renew(list);
  now.mark += 1;
  now.count = 0;
  let at = backwards ? end : 0;
  const anchored = !backwards && states[0]?.type === 'place' && states[0].place === 'start';
  for (;;) {
    if (anchored && at > 0) {
      if (now.count === 0) return false;
    } else if (enter(now, 0, at)) {
      if (places === null) return true;
      places[at] = 1;
    }
    spend(fuel, 1 + now.count);
    if (at === (backwards ? 0 : end)) return false;
    const char = backwards ? before(text, at) : (text.codePointAt(at) ?? 0);
    at += (backwards ? -1 : 1) * (char > 0xffff ? 2 : 1);
    next.mark += 1;
    next.count = 0;
    let fits = false;
    for (let index = 0; index < now.count; index++) {
      const from = now.items[index] ?? 0;
      const state = states[from];
      if (state?.type !== 'set') continue;
      if (!state.set.has(char, fuel)) continue;
      if (enter(next, from + 1, at)) fits = true;
    }
    if (fits) {
      if (places === null) return true;
      places[at] = 1;
    }
    [now, next] = [next, now];
  }

  /** Puts a state and all that follow from it without a character into the list. True: it is through. */
  function enter(list: StateList, first: number, place: number): boolean {
    let height = 0;
    let through = false;
    stack[height++] = first;
    while (height > 0) {
      const index = stack[--height] ?? 0;
      if (list.marks[index] === list.mark) continue;
      list.marks[index] = list.mark;
      fuel.left -= 1;
      if (index === last) {
        through = true;
        continue;
      }
      const state = states[index];
      switch (state?.type) {
        case 'set':
          list.items[list.count++] = index;
          break;
        case 'split':
          stack[height++] = state.b;
          stack[height++] = state.a;
          break;
        case 'jump':
          stack[height++] = state.to;
          break;
        case 'place':
          if (isPlace(state.place, text, place)) stack[height++] = index + 1;
          break;
        case 'look':
          if (known[state.look]?.[place] === state.wanted) stack[height++] = index + 1;
          break;
      }
    }
    return through;
  }
}

/** The marks have 32 bits. */
function renew(list: StateList): void {
  if (list.mark < 1_000_000_000) return;
  list.marks.fill(-1);
  list.mark = 0;
}

function isPlace(place: 'start' | 'end' | 'edge' | 'inside', text: string, at: number): boolean {
  if (place === 'start') return at === 0;
  if (place === 'end') return at === text.length;
  return (isWord(text.charCodeAt(at - 1)) !== isWord(text.charCodeAt(at))) === (place === 'edge');
}

function isWord(char: number): boolean {
  return (char >= 48 && char <= 57) || (char >= 65 && char <= 90) || char === 95 || (char >= 97 && char <= 122);
}

/** The character that ends at a place. */
function before(text: string, at: number): number {
  const low = text.charCodeAt(at - 1);
  if (low < 0xdc00 || low > 0xdfff || at < 2) return low;
  return (text.codePointAt(at - 2) ?? low) > 0xffff ? (text.codePointAt(at - 2) ?? low) : low;
}
