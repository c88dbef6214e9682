import { type Mutant, server } from './mutant.ts';

/** Found by what comes between the statements of a transaction: by interleavings alone, whose tests know none of this code. */
const seeds = ['test/sim/isolation.test.ts'];
const tables = `${server}/storage/tables`;
const drivers = `${server}/storage/drivers`;
const postgres = `${drivers}/postgres.ts`;

export const isolationMutants: readonly Mutant[] = [
  {
    bug: 'isolation: the runs that a commit changes are read and not locked',
    file: `${tables}/runs.ts`,
    replace: "return selectMany(runs, allColumns, { tenantId, key: 'run_id', keys: ids, orderBy: ['run_id'], lock: true });",
    by: "return selectMany(runs, allColumns, { tenantId, key: 'run_id', keys: ids, orderBy: ['run_id'], lock: false });",
    tests: seeds,
  },
  {
    bug: 'isolation: balances are read and not locked',
    file: `${tables}/budgets.ts`,
    replace: '    lock,\n',
    by: '    lock: false,\n',
    tests: seeds,
  },
  {
    bug: 'isolation: a statement of every kind is a transaction of its own',
    file: postgres,
    replace: "const begin = 'begin isolation level read committed';",
    by: "const begin = 'select 1';",
    tests: seeds,
  },
  {
    bug: 'isolation: a change whose answer was lost is made again blindly',
    file: postgres,
    replace: "    if (!(reason instanceof DatabaseFailure) || reason.failure !== 'outage') throw reason;\n",
    by: '    if (reason instanceof DatabaseFailure) throw reason;\n',
    tests: seeds,
  },
  {
    bug: 'isolation: two claims find the same run',
    file: `${drivers}/dialects.ts`,
    replace: 'skipLocked: (query) => query.forUpdate().skipLocked(),',
    by: 'skipLocked: (query) => query,',
    tests: seeds,
  },
  {
    bug: 'isolation: what a tenant has is counted side by side',
    file: `${tables}/quotas.ts`,
    replace: "orderBy: ['kind'], lock: true });",
    by: "orderBy: ['kind'], lock: false });",
    tests: seeds,
  },
  {
    bug: 'isolation: a limit that is new misses what others take meanwhile',
    file: `${server}/storage/commit/gate.ts`,
    replace: 'shared: !books.alone',
    by: 'shared: true',
    tests: seeds,
  },
  {
    bug: 'isolation: a job is given to whoever asks for it',
    file: `${tables}/retention.ts`,
    replace: 'where jobs.owner = excluded.owner or',
    by: 'where 1 = 1 or',
    tests: seeds,
  },
  {
    bug: 'isolation: reservations are read and not locked',
    file: `${tables}/reservations.ts`,
    replace: "    orderBy: ['reservation_id'],\n    lock: true,",
    by: "    orderBy: ['reservation_id'],\n    lock: false,",
    tests: seeds,
  },
  {
    bug: 'isolation: whether a session is open is read and not locked',
    file: `${tables}/sessions.ts`,
    replace: "key: 'session_id', keys: ids, orderBy: ['session_id'], lock: true });",
    by: "key: 'session_id', keys: ids, orderBy: ['session_id'], lock: false });",
    tests: seeds,
  },
  {
    bug: 'isolation: a run lays its work down beside what comes to its session',
    file: `${server}/storage/commit/sessions.ts`,
    replace: '      if (leaves) ids.push(leaves);\n',
    by: '',
    tests: seeds,
  },
  {
    bug: 'isolation: a run is resumed in a session that closes meanwhile',
    file: `${tables}/queue.ts`,
    replace: "  if (session?.status !== 'active') return 'closed';\n",
    by: "  if (session === undefined) return 'closed';\n",
    tests: seeds,
  },
  {
    bug: 'isolation: a run is locked before the session in which it is resumed',
    file: `${tables}/queue.ts`,
    replace: '  const [session] = yield* lockSessions(tenant, [found.session_id]);\n',
    by: '  yield* run(lockRun, { tenant, id });\n  const [session] = yield* lockSessions(tenant, [found.session_id]);\n',
    tests: seeds,
  },
  {
    bug: 'isolation: runs are asked to cancel before their session is closed',
    file: `${tables}/closing.ts`,
    replace:
      '  if (!(yield* endSession(tenant, id))) return false;\n  const now = yield* databaseNow();\n  const open = (yield* openRunsOf(tenant, id)).map(({ run_id }) => run_id).sort();\n  yield* together([\n    ...open.flatMap((runId) => cancelRequest(tenant, runId, reason, now)),\n    change(withdrawQuestions, { tenant, session: id }),\n  ]);\n  return true;\n',
    by: '  const now = yield* databaseNow();\n  const open = (yield* openRunsOf(tenant, id)).map(({ run_id }) => run_id).sort();\n  yield* together([\n    ...open.flatMap((runId) => cancelRequest(tenant, runId, reason, now)),\n    change(withdrawQuestions, { tenant, session: id }),\n  ]);\n  return yield* endSession(tenant, id);\n',
    tests: seeds,
  },
  {
    bug: 'isolation: a session is cleared away while somebody begins in it',
    file: `${tables}/retention.ts`,
    replace: "    key: 'session_id',\n    keys: [session],\n    orderBy: ['session_id'],\n    lock: true,",
    by: "    key: 'session_id',\n    keys: [session],\n    orderBy: ['session_id'],\n    lock: false,",
    tests: seeds,
  },
  {
    bug: 'isolation: a commit locks runs before sessions',
    file: `${server}/storage/commit/batch.ts`,
    replace: '    sessionHandler(batch),\n    placeHandler(sessions, working),\n    runHandler(batch, working),\n',
    by: '    runHandler(batch, working),\n    sessionHandler(batch),\n    placeHandler(sessions, working),\n',
    tests: seeds,
  },
  {
    bug: 'isolation: who answers second takes the place of who answered first',
    file: `${tables}/approvals.ts`,
    replace:
      "    .set({ status: 'decided', decision: params.decision, answer: params.answer, decided_by: params.decidedBy, decided_at: params.at })\n    .where('tenant_id', '=', params.tenant)\n    .where('approval_id', '=', params.id)\n    .where('status', '=', 'pending'),",
    by: "    .set({ status: 'decided', decision: params.decision, answer: params.answer, decided_by: params.decidedBy, decided_at: params.at })\n    .where('tenant_id', '=', params.tenant)\n    .where('approval_id', '=', params.id),",
    tests: seeds,
  },
];
