import { type Expression, type SqlBool, sql } from 'kysely';
import { NexusError } from '#core';
import type { PageOf, PageRequest } from '#storage/contract';

/** Position of the last row of a page: its sort keys. */
type Position = readonly (string | number)[];

function encodeCursor(position: Position): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url');
}

/** Where the page begins, undefined for the first. Throws `invalid_request` unless its cursor has keys of these types. */
export function startOf({ cursor }: PageRequest, types: readonly ('string' | 'number')[]): Position | undefined {
  if (cursor === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (Array.isArray(value) && value.length === types.length && value.every((key, index) => isKey(key, types[index]))) return value;
  } catch {
    // not JSON: answered below like any other text that is not a cursor
  }
  throw new NexusError('invalid_request', 'the cursor is not one that a previous page returned');
}

/** Whether every database can compare the value with a column of the type. */
function isKey(value: unknown, type: 'string' | 'number' | undefined): boolean {
  return type === 'number' ? Number.isSafeInteger(value) : typeof value === 'string' && !value.includes('\u0000') && value.isWellFormed();
}

/** The first `limit` of up to `limit + 1` rows, and where the next page begins if there are more. */
export function cutPage<R, T>(rows: readonly R[], limit: number, map: (row: R) => T, position: (row: R) => Position): PageOf<T> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return {
    items: items.map(map),
    nextCursor: rows.length > limit && last !== undefined ? encodeCursor(position(last)) : null,
  };
}

/**
 * `(first, second)` lies beyond the position in the given direction. The first comparison repeats itself without the
 * second key, so that an index on the first column bounds the scan.
 */
export function beyond(
  [first, second]: readonly [string, string],
  [firstKey, secondKey]: Position,
  direction: 'asc' | 'desc',
): Expression<SqlBool> {
  const operator = sql.raw(direction === 'asc' ? '>' : '<');
  const a = sql.ref(first);
  const b = sql.ref(second);
  return sql<SqlBool>`(${a} ${operator}= ${firstKey} and (${a} ${operator} ${firstKey} or ${b} ${operator} ${secondKey}))`;
}

/** Bytes of the rows of a page, about: a page of large rows has fewer, and at least one. */
const pageBytes = 4_000_000;

/** How many of the first rows a page may have, by the bytes of each. */
export function fittingRows(rows: readonly { readonly bytes: number | string }[], limit: number): number {
  let total = 0;
  for (const [index, { bytes }] of rows.entries()) {
    total += Number(bytes);
    if (total > pageBytes) return Math.min(limit, Math.max(1, index));
  }
  return limit;
}
