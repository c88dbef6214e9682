import { sql } from 'kysely';
import { change, databaseNow, type Program, queriesOn, together } from '#storage/program';
import { approvals } from './approvals.ts';
import { cancelRequest } from './queue.ts';
import { openRunsOf, runs } from './runs.ts';
import { endSession, sessions } from './sessions.ts';

const { statement } = queriesOn(approvals, runs, sessions);

/** Runs that failed may keep their questions for when they are resumed, which they can be no more. */
const withdrawQuestions = statement('withdraw_questions', ({ db }, params: { tenant: string; session: string }) =>
  db
    .updateTable('approvals')
    .set({ status: 'cancelled' })
    .where('tenant_id', '=', params.tenant)
    .where('status', '=', sql.lit('pending'))
    .where('session_id', '=', params.session)
    .where(({ exists, selectFrom }) =>
      exists(
        selectFrom('runs')
          .select(sql.lit(1).as('one'))
          .whereRef('runs.tenant_id', '=', 'approvals.tenant_id')
          .whereRef('runs.run_id', '=', 'approvals.run_id')
          .where('runs.status', '=', sql.lit('failed')),
      ),
    ),
);

/**
 * Ends a session with all that is open in it, in one transaction: whatever begins or goes on in it at the same time either comes before
 * and is asked to cancel, or finds it closed.
 */
export function* closeSession(tenant: string, id: string, reason: string): Program<boolean> {
  if (!(yield* endSession(tenant, id))) return false;
  const now = yield* databaseNow();
  const open = (yield* openRunsOf(tenant, id)).map(({ run_id }) => run_id).sort();
  yield* together([
    ...open.flatMap((runId) => cancelRequest(tenant, runId, reason, now)),
    change(withdrawQuestions, { tenant, session: id }),
  ]);
  return true;
}
