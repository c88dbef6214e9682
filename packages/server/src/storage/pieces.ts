import type { Driver, Program } from '#storage/program';

/** Rows of one piece of what is read, or looked through, to its end: some milliseconds. Others have the thread, and the database, between two. */
export const pieceRows = 1_000;

/**
 * Reads all of something in pieces of {@link pieceRows}, each a statement of its own that begins after the last row of the one before, and
 * hands over each row, until `take` answers false. However much there is, nobody waits for more than a piece of it.
 */
export async function pieceByPiece<R>(
  { read }: Pick<Driver, 'read'>,
  piece: (after: R | null) => Program<readonly R[]>,
  take: (row: R) => boolean,
): Promise<void> {
  for (let after: R | null = null; ; ) {
    const last: R | null = after;
    const rows: readonly R[] = await read(() => piece(last), { when: 'in_turn' });
    for (const row of rows) if (!take(row)) return;
    after = rows.at(-1) ?? null;
    if (after === null || rows.length < pieceRows) return;
  }
}
