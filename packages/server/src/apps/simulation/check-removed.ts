import type { Driver } from '#storage/drivers';
import type { Chronicle } from './chronicle.ts';
import { selectAll } from './rows.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

export interface RemovalOptions {
  readonly chronicle: Chronicle;
  readonly world: World;
  /** Sessions that somebody wanted deleted. */
  readonly removed: ReadonlySet<string>;
  /** Sessions in which nothing happens go by themselves, after so long. */
  readonly expires: boolean;
  readonly keptMs: () => number;
}

/** Clocks of nodes follow that of the database, not to the millisecond. */
const clockMs = 1_000;

/** Only what was to go goes, and only once it has ended. Throws {@link Violation}. */
export function watchRemovals({ chronicle, world, removed, expires, keptMs }: RemovalOptions): void {
  chronicle.listen({
    gone({ runId, sessionId, status, events }) {
      if (status !== 'completed' && status !== 'failed' && status !== 'cancelled')
        throw new Violation(`removal: ${runId} is gone, and was ${status}`);
      if (removed.has(sessionId)) return;
      if (!expires) throw new Violation(`removal: ${runId} is gone, and nobody wanted that`);
      const idleMs = world.now - (events.at(-1)?.at ?? 0);
      if (idleMs < keptMs() - clockMs) throw new Violation(`removal: ${runId} is gone ${Math.round(idleMs)} ms after its last event`);
    },
  });
}

const tablesOfRuns = ['run_events', 'approvals', 'reservations'];

/** Once it was cleared away: nothing is left of what was deleted, and of contents only what a file or an artifact has. */
export async function checkLeft(database: Driver, { stories }: Chronicle, contents: ReadonlyMap<string, unknown>): Promise<void> {
  const sessions = new Set((await selectAll(database, 'select session_id from sessions')).map(({ session_id }) => String(session_id)));
  for (const { runId, sessionId, isGone } of stories.values()) {
    if (isGone === sessions.has(sessionId)) throw new Violation(`removal: ${runId} and its session ${sessionId} did not go together`);
    if (!isGone) continue;
    for (const table of tablesOfRuns) {
      const [left] = await selectAll(database, `select count(*) as rows from ${table} where run_id = ?`, runId);
      if (Number(left?.rows) > 0) throw new Violation(`removal: ${left?.rows} ${table} are left of ${runId}`);
    }
    const [balances] = await selectAll(
      database,
      'select count(*) as rows from budgets where scope = ? or scope = ?',
      `run:${runId}`,
      `session:${sessionId}`,
    );
    if (Number(balances?.rows) > 0) throw new Violation(`removal: ${balances?.rows} balances are left of ${runId}`);
    const [artifacts] = await selectAll(database, 'select count(*) as rows from artifacts where session_id = ?', sessionId);
    if (Number(artifacts?.rows) > 0) throw new Violation(`removal: ${artifacts?.rows} artifacts are left of ${sessionId}`);
    const [trees] = await selectAll(database, 'select count(*) as rows from file_trees where session_id = ?', sessionId);
    if (Number(trees?.rows) > 0) throw new Violation(`removal: ${trees?.rows} trees of files are left of ${sessionId}`);
  }
  const [due] = await selectAll(database, "select count(*) as rows from removals where kind in ('content', 'leaving')");
  if (Number(due?.rows) > 0) return;
  const rows = await selectAll(database, 'select tenant_id, sha256 from files union all select tenant_id, sha256 from artifacts');
  const named = new Set(rows.map((row) => `${row.tenant_id}/${row.sha256}`));
  for (const key of contents.keys())
    if (!named.has(key)) throw new Violation(`files: the content ${key} is kept, and no file or artifact has it`);
}
