import { dictionary } from '@nexus-agent/protocol';
import type { Program } from '#storage/program';

/** How large every table is taken to be, and a partial index, which holds what is at work; but for these, which hold what has been. */
const [rows, rowsAtWork] = [1_000_000, 1_000];
const largeIndexes: ReadonlySet<string> = new Set([
  ...['runs_log', 'runs_children', 'runs_ended', 'runs_session_ended', 'reservations_closed', 'files_current', 'files_replaced'],
]);

/** Of how many values a column is taken to have one; of a great many where nothing is said. */
const values: Readonly<Record<string, number>> = dictionary({
  tenant_id: 2,
  ...{ status: 5, state: 2, kind: 5, dimension: 5, unit: 4, budget_window: 3, folded: 2, inherited: 2, agent: 20, agent_version: 20 },
  ...{ day: 100, parent_run_id: 100_000 },
});
const manyValues = 100_000;

interface IndexRow {
  readonly tbl: string;
  readonly idx: string;
  readonly partial: number;
  readonly is_unique: number;
  readonly columns: string;
}

/**
 * Tells SQLite what tables are like that have grown, whatever they are like now. Without statistics it takes the key of a tenant alone for
 * as good as the key of a run, and reads all of a tenant for a row; with those of a moment its plans would change with the next. These say
 * that a tenant may have everything, and never change, so that what is fast once stays so. Writes nothing where they stand already.
 */
export function* settleStatistics(): Program<void> {
  yield { type: 'raw', sql: 'analyze sqlite_schema', params: [] }; // makes their table
  const found = yield {
    type: 'raw',
    sql: `select m.name as tbl, l.name as idx, l.partial, l."unique" as is_unique,
        (select group_concat(name) from (select name from pragma_index_info(l.name) order by seqno)) as columns
      from sqlite_schema m, pragma_index_list(m.name) l where m.type = 'table' order by m.name, l.name`,
    params: [],
  };
  const clustered = yield {
    type: 'raw',
    sql: "select name from sqlite_schema where type = 'table' and sql like '%without rowid'",
    params: [],
  };
  const withoutRowid = new Set((clustered.rows as readonly { name: string }[]).map(({ name }) => name)); // the column of the query
  const wanted = (found.rows as readonly IndexRow[]).map((index) => ({
    tbl: index.tbl,
    // The key of a table without row ids is known by the name of the table.
    idx: withoutRowid.has(index.tbl) && index.idx.startsWith('sqlite_autoindex_') ? index.tbl : index.idx,
    stat: statOf(index),
  }));
  const stored = yield { type: 'raw', sql: 'select tbl, idx, stat from sqlite_stat1 order by tbl, idx', params: [] };
  const textOf = (lines: readonly unknown[]) =>
    JSON.stringify((lines as typeof wanted).map(({ tbl, idx, stat }) => `${tbl} ${idx} ${stat}`).sort());
  if (textOf(stored.rows) === textOf(wanted)) return;
  yield { type: 'raw', sql: 'delete from sqlite_stat1', params: [] };
  for (const { tbl, idx, stat } of wanted)
    yield { type: 'raw', sql: 'insert into sqlite_stat1 (tbl, idx, stat) values (?, ?, ?)', params: [tbl, idx, stat] };
  yield { type: 'raw', sql: 'analyze sqlite_schema', params: [] }; // reads them
}

/** Rows of the index, and how many have the same first column, first two, and so on. */
function statOf({ idx, partial, is_unique, columns }: IndexRow): string {
  const names = columns.split(',');
  const all = partial === 1 && !largeIndexes.has(idx) ? rowsAtWork : rows;
  let left = all;
  const same = names.map((name, index) => {
    left = Math.max(is_unique === 1 && index === names.length - 1 ? 1 : 2, Math.ceil(left / (values[name] ?? manyValues)));
    return is_unique === 1 && index === names.length - 1 ? 1 : left;
  });
  return [all, ...same].join(' ');
}
