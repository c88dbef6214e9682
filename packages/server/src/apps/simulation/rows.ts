import type { Driver, Program, Result } from '#storage/drivers';

export type Raw = Readonly<Record<string, string | number | null>>;

/** Reads the database beside everybody, at once: between two things that happen. */
export async function selectAll(database: Driver, sql: string, ...params: readonly (string | number)[]): Promise<readonly Raw[]> {
  const result = await database.read(function* (): Program<Result> {
    return yield { type: 'raw', sql, params };
  });
  return result.rows as readonly Raw[]; // what SQLite gives
}

/** The row for each of the keys, in one go; undefined where there is none. */
export async function selectEach(
  database: Driver,
  sql: string,
  keys: readonly (readonly (string | number)[])[],
): Promise<readonly (Raw | undefined)[]> {
  if (keys.length === 0) return [];
  return database.read(function* (): Program<(Raw | undefined)[]> {
    const found: (Raw | undefined)[] = [];
    for (const params of keys) {
      const { rows }: Result = yield { type: 'raw', sql, params };
      found.push(rows[0] as Raw | undefined); // what SQLite gives
    }
    return found;
  });
}

const columns: Readonly<Record<string, string>> = {
  costMicroUsd: 'cost_micro_usd',
  tokens: 'tokens',
  toolCalls: 'tool_calls',
  wallMs: 'wall_ms',
};

/** What an entry of the ledger booked of a unit. */
export const booked = (entry: Raw, unit: string): number => Number(entry[columns[unit] ?? ''] ?? 0);
