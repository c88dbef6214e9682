import { NexusError } from '#core';

/**
 * Between columns and values. What is read was written here, so its JSON and its closed sets of words are trusted: that
 * is why the files of the tables may name the type of what they parse.
 */
export function parse<T>(text: string): T {
  return JSON.parse(text) as T; // written by `json` below from a T
}
export function parseNullable<T>(text: string | null): T | null {
  return text === null ? null : parse<T>(text);
}
export function json(value: unknown): string {
  return JSON.stringify(value) ?? 'null';
}
export function jsonNullable(value: unknown): string | null {
  return value === null || value === undefined ? null : json(value);
}

/** Whether a column of text can hold it: nothing is found by one that cannot, and Postgres does not even take the question. */
export function isStorable(text: string): boolean {
  return !text.includes('\u0000') && text.isWellFormed();
}

/** Text for a column of its own. Postgres cannot store NUL or half a surrogate pair, so neither database does. */
export function storable<T extends string | null>(text: T, name: string): T {
  if (text !== null && !isStorable(text)) {
    throw new NexusError('invalid_request', `${name} contains a character that cannot be stored`);
  }
  return text;
}

/** Sorts rows by a column. Inserts are in one order everywhere: two transactions with the same new keys wait for each other, never in a ring. */
export function byKey<K extends string>(key: K): (a: Readonly<Record<K, string>>, b: Readonly<Record<K, string>>) => number {
  return (a, b) => (a[key] < b[key] ? -1 : 1);
}
