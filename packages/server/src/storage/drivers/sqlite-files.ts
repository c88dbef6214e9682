import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { DatabaseFailure } from './failures.ts';

/** How long what was seen of the files is believed. */
const believeMs = 100;

/**
 * Looks whether the files that are open still lie where they were opened, and throws when they do not: what is written to a file that
 * somebody deleted, or put another in the place of, is gone with the process, and until then everything seems well.
 */
export function watchSqliteFiles(path: string): () => void {
  const paths = [path, `${path}-wal`];
  const opened = paths.map(identityOf);
  let seenMs = Number.NEGATIVE_INFINITY;
  return () => {
    if (performance.now() - seenMs < believeMs) return;
    const moved = paths.find((each, index) => opened[index] !== null && identityOf(each) !== opened[index]);
    if (moved !== undefined)
      throw new DatabaseFailure(
        'outage',
        `the file ${basename(moved)} of the database was deleted, moved or replaced while it was in use: put it back, or restart this process`,
      );
    seenMs = performance.now();
  };
}

function identityOf(path: string): string | null {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? null : `${found.dev}/${found.ino}`;
}
