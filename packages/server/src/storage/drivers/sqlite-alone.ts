import { existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { knownDead } from '#storage/tables';

/**
 * Ends the leases that processes left behind on a database file which nobody has open: they are dead, whatever the clock says. Who has
 * it open holds a lock of the operating system on the file, which ends with the process, so that a file that can be locked altogether has
 * no owner. When the clock has been set back meanwhile, what was due by the clock of then is made due. True when nobody else had it open.
 *
 * What is in the way of looking is left to whoever opens the file next.
 */
export function endLeasesWhenAlone(path: string, nowMs: number): boolean {
  if (!existsSync(path)) return true;
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    // Before the file is read: a log that is opened so is this connection's alone, for as long as it is open.
    database.exec('pragma locking_mode = exclusive; begin exclusive');
    if (hasLeases(database)) endLeases(database, nowMs);
    database.exec('commit');
    return true;
  } catch {
    return false;
  } finally {
    database?.close();
  }
}

/** An earlier version may have left the file. */
function hasLeases(database: DatabaseSync): boolean {
  const columns = database.prepare("select name from pragma_table_info('workers') where name in ('expires_at', 'lease_ms')").all();
  const jobs = database.prepare("select name from sqlite_master where type = 'table' and name = 'jobs'").all();
  return columns.length === 2 && jobs.length === 1;
}

function endLeases(database: DatabaseSync, nowMs: number): void {
  const [left] = database
    .prepare('select max(expires_at - lease_ms) as seen, max(expires_at) as until from workers where lease_ms > 0')
    .all();
  const { seen, until } = (left ?? {}) as { seen: number | null; until: number | null }; // as it was selected
  if (seen !== null && until !== null && seen > nowMs)
    database.prepare('update runs set due_at = ? where due_at > ? and due_at <= ?').run(nowMs, nowMs, until);
  database.prepare('update workers set expires_at = ? where expires_at > ?').run(knownDead, nowMs);
  database.exec('delete from jobs');
}
