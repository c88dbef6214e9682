import { type Fuel, outOfFuel, spend } from './fuel.ts';
import { shown } from './words.ts';

/** One thing that does not fit: where, what is there, what belongs there. */
export interface SchemaIssue {
  readonly path: string;
  readonly expected: string;
  readonly actual: string;
}

/** Where in the value something is. Null while nobody asks. */
export interface ValuePlace {
  readonly parent: ValuePlace | null;
  readonly key: string | number;
}

/** What was held against a schema already, of one object or list. */
export interface Seen {
  names: Set<string> | 'all';
  /** So many items from the first on. */
  items: number;
  others: Set<number>;
}

/** A check under way. */
export interface State extends Fuel {
  depth: number;
  /** What does not fit, once the value is known not to fit; null while that is found out. */
  readonly issues: Issues | null;
}

export interface Issues {
  readonly concrete: SchemaIssue[];
  /** Of what only holds others together: said when nothing else is. */
  readonly wrapping: SchemaIssue[];
}

/** A part of a schema, ready to be held against a value. */
export type Check = (value: unknown, state: State, place: ValuePlace | null, seen: Seen | null) => boolean;

/** What a path begins with. */
export const top: ValuePlace = { parent: null, key: '' };

export const maxIssues = 5;
/** Ends a check that has nothing more to say. */
export const enough = new Error('all that is told is known');

/** Deeper than JSON that comes in, so that only schemas that go round and round reach it. */
const maxDepth = 800;

export function deeper(state: State): void {
  spend(state, 4);
  state.depth += 1;
  if (state.depth > maxDepth) throw outOfFuel;
}

/** Says what does not fit, when somebody asks; always false. */
export function fails(state: State, place: ValuePlace | null, expected: string | (() => string), actual: unknown, wrapping = false): false {
  if (state.issues === null) return false;
  const list = wrapping ? state.issues.wrapping : state.issues.concrete;
  if (list.length < maxIssues) {
    list.push({ path: pathOf(place), expected: typeof expected === 'string' ? expected : expected(), actual: shown(actual) });
  }
  if (state.issues.concrete.length >= maxIssues) throw enough;
  return false;
}

export function inside(place: ValuePlace | null, key: string | number): ValuePlace | null {
  return place === null ? null : { parent: place, key };
}

const maxPathChars = 300;
const maxNameChars = 80;

/** `files[0].name`; the empty path is the value itself. */
function pathOf(place: ValuePlace | null): string {
  const keys: (string | number)[] = [];
  for (let at = place; at !== null && at.parent !== null; at = at.parent) keys.push(at.key);
  let path = '';
  for (const key of keys.reverse()) {
    const name = String(key).length > maxNameChars ? `${String(key).slice(0, maxNameChars)}…` : String(key);
    path = typeof key === 'number' ? `${path}[${key}]` : path === '' ? name : `${path}.${name}`;
    if (path.length > maxPathChars) return `${path.slice(0, maxPathChars)}…`;
  }
  return path;
}
