import { sql } from 'kysely';
import type { HeldCall, ToolWorkerRow, WorkerCallRow, WorkerCallState } from '#storage/contract';
import {
  change,
  defineTable,
  insertMany,
  json,
  jsonNullable,
  type Program,
  parse,
  parseNullable,
  queriesOn,
  type Row,
  run,
  selectMany,
} from '#storage/program';
import { rowsOf, write } from './statements.ts';

export const toolCalls = defineTable('tool_calls', {
  tenant_id: 'text',
  call_key: 'text',
  pool: 'text',
  status: 'text',
  request: 'text',
  answer: 'text?',
  holder: 'text?',
  delivery: 'int',
  lease_until: 'int?',
  cancelled: 'int',
  created_at: 'int',
  expires_at: 'int',
});
export const toolWorkers = defineTable('tool_workers', {
  tenant_id: 'text',
  worker_id: 'text',
  pool: 'text',
  node_id: 'text',
  about: 'text',
  connected_at: 'int',
  seen_at: 'int',
});
type Stored = Row<typeof toolCalls>;
const { statement, query } = queriesOn(toolCalls, toolWorkers);

function callFromRow(row: Stored): WorkerCallRow {
  return {
    tenantId: row.tenant_id as WorkerCallRow['tenantId'],
    callKey: row.call_key,
    pool: row.pool,
    status: row.status as WorkerCallRow['status'],
    request: parse(row.request),
    answer: parseNullable(row.answer),
    holder: row.holder,
    delivery: row.delivery,
    leaseUntil: row.lease_until,
    cancelled: row.cancelled !== 0,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  };
}

export function* offerToolCall(call: WorkerCallRow): Program<WorkerCallRow> {
  const row: Stored = {
    tenant_id: call.tenantId,
    call_key: call.callKey,
    pool: call.pool,
    status: call.status,
    request: json(call.request),
    answer: jsonNullable(call.answer),
    holder: call.holder,
    delivery: call.delivery,
    lease_until: call.leaseUntil,
    cancelled: call.cancelled ? 1 : 0,
    created_at: call.createdAt,
    expires_at: call.expiresAt,
  };
  if ((yield* insertMany(toolCalls, [row], 'ignore')) > 0) return call;
  const [known] = yield* run(oneCall, { tenant: call.tenantId, key: call.callKey });
  return known ? callFromRow(known) : call;
}

const oneCall = statement('tool_call', ({ db }, params: { tenant: string; key: string }) =>
  db.selectFrom('tool_calls').selectAll().where('tenant_id', '=', params.tenant).where('call_key', '=', params.key),
);

const queuedOf = statement('queued_tool_calls', ({ db, dialect }, params: { tenant: string; pool: string; limit: number }) =>
  dialect.skipLocked(
    db
      .selectFrom('tool_calls')
      .select('call_key')
      .where('tenant_id', '=', params.tenant)
      .where('pool', '=', params.pool)
      .where('status', '=', sql.lit('queued'))
      .orderBy('created_at')
      .limit(params.limit),
  ),
);

export function* takeToolCalls(
  { tenantId, pool, workerId }: { readonly tenantId: string; readonly pool: string; readonly workerId: string },
  { limit, nowMs, leaseMs }: { readonly limit: number; readonly nowMs: number; readonly leaseMs: number },
): Program<readonly WorkerCallRow[]> {
  const picked = yield* run(queuedOf, { tenant: tenantId, pool, limit });
  if (picked.length === 0) return [];
  const keys = sql.join(picked.map(({ call_key }) => call_key));
  const taken = yield* rowsOf(sql<Stored>`update tool_calls
    set status = 'held', holder = ${workerId}, delivery = delivery + 1, lease_until = ${nowMs + leaseMs}
    where tenant_id = ${tenantId} and call_key in (${keys}) and status = 'queued' returning *`);
  return taken.map(callFromRow).sort((one, other) => one.createdAt - other.createdAt);
}

export function* renewToolCalls(
  { tenantId, workerId }: { readonly tenantId: string; readonly workerId: string },
  held: readonly HeldCall[],
  leaseUntil: number,
): Program<readonly (HeldCall & { readonly cancelled: boolean })[]> {
  if (held.length === 0) return [];
  const delivered = held.map(({ callKey, delivery }) => sql`(call_key = ${callKey} and delivery = ${delivery})`);
  const rows = yield* rowsOf(
    sql<Stored>`update tool_calls set lease_until = ${leaseUntil}
      where tenant_id = ${tenantId} and holder = ${workerId} and status = 'held'
        and call_key in (${sql.join(held.map(({ callKey }) => callKey))}) and (${sql.join(delivered, sql` or `)}) returning *`,
  );
  return rows.map((row) => ({ callKey: row.call_key, delivery: row.delivery, cancelled: row.cancelled !== 0 }));
}

const end = statement(
  'end_tool_call',
  ({ db }, params: { tenant: string; key: string; delivery: number; worker: string; answer: string }) =>
    db
      .updateTable('tool_calls')
      .set({ status: 'done', answer: params.answer, holder: null, lease_until: null })
      .where('tenant_id', '=', params.tenant)
      .where('call_key', '=', params.key)
      .where('delivery', '=', params.delivery)
      .where('holder', '=', params.worker)
      .where('status', '=', sql.lit('held')),
);

export function* endToolCall(
  { tenantId, workerId }: { readonly tenantId: string; readonly workerId: string },
  { callKey, delivery }: HeldCall,
  answer: unknown,
): Program<boolean> {
  return (yield* change(end, { tenant: tenantId, key: callKey, delivery, worker: workerId, answer: json(answer) })) > 0;
}

export function* endLostToolCall(tenant: string, { callKey, delivery }: HeldCall, nowMs: number, answer: unknown): Program<boolean> {
  const changed = yield* write(sql`update tool_calls set status = 'done', answer = ${json(answer)}, holder = null, lease_until = null
    where tenant_id = ${tenant} and call_key = ${callKey} and delivery = ${delivery} and status = 'held' and lease_until < ${nowMs}`);
  return changed > 0;
}

export function* reopenToolCall(
  tenant: string,
  { callKey, delivery }: HeldCall,
  { nowMs, expiresAt }: { readonly nowMs: number; readonly expiresAt: number },
): Program<boolean> {
  const changed = yield* write(sql`update tool_calls
    set status = 'queued', answer = null, cancelled = 0, created_at = ${nowMs}, expires_at = ${expiresAt}
    where tenant_id = ${tenant} and call_key = ${callKey} and delivery = ${delivery} and status = 'done'`);
  return changed > 0;
}

export function* returnToolCall(
  { tenantId, workerId }: { readonly tenantId: string; readonly workerId: string },
  { callKey, delivery }: HeldCall,
): Program<boolean> {
  const changed = yield* write(sql`update tool_calls set status = 'queued', holder = null, lease_until = null
    where tenant_id = ${tenantId} and call_key = ${callKey} and delivery = ${delivery} and holder = ${workerId} and status = 'held'`);
  return changed > 0;
}

export function* requeueToolCall(tenant: string, { callKey, delivery }: HeldCall, nowMs: number): Program<boolean> {
  const changed = yield* write(sql`update tool_calls set status = 'queued', holder = null, lease_until = null
    where tenant_id = ${tenant} and call_key = ${callKey} and delivery = ${delivery} and status = 'held' and lease_until < ${nowMs}`);
  return changed > 0;
}

export function* withdrawToolCall(tenant: string, callKey: string, answer: unknown): Program<boolean> {
  const ended = yield* write(sql`update tool_calls set status = 'done', answer = ${json(answer)}, cancelled = 1
    where tenant_id = ${tenant} and call_key = ${callKey} and status = 'queued'`);
  return ended > 0;
}

export function* cancelToolCall(tenant: string, callKey: string, answer: unknown): Program<'ended' | 'marked' | 'gone'> {
  if (yield* withdrawToolCall(tenant, callKey, answer)) return 'ended';
  const marked = yield* write(sql`update tool_calls set cancelled = 1
    where tenant_id = ${tenant} and call_key = ${callKey} and status = 'held'`);
  return marked > 0 ? 'marked' : 'gone';
}

export function* toolCallStates(tenant: string, keys: readonly string[]): Program<readonly WorkerCallState[]> {
  const rows = yield* selectMany(toolCalls, ['call_key', 'status', 'answer', 'holder', 'delivery', 'lease_until', 'cancelled'], {
    tenantId: tenant,
    key: 'call_key',
    keys,
    orderBy: ['call_key'],
    lock: false,
  });
  return rows.map((row) => ({
    callKey: row.call_key,
    status: row.status as WorkerCallState['status'],
    answer: parseNullable(row.answer),
    holder: row.holder,
    delivery: row.delivery,
    leaseUntil: row.lease_until,
    cancelled: row.cancelled !== 0,
  }));
}

const heldBy = statement('held_tool_calls', ({ db }, params: { tenant: string; worker: string }) =>
  db
    .selectFrom('tool_calls')
    .selectAll()
    .where('tenant_id', '=', params.tenant)
    .where('holder', '=', params.worker)
    .where('status', '=', sql.lit('held'))
    .limit(1_000),
);

export function* heldToolCalls(tenant: string, worker: string): Program<readonly WorkerCallRow[]> {
  return (yield* run(heldBy, { tenant, worker })).map(callFromRow);
}

const anyQueued = statement('any_queued_tool_call', ({ db }, params: { tenant: string; pool: string }) =>
  db
    .selectFrom('tool_calls')
    .select('call_key')
    .where('tenant_id', '=', params.tenant)
    .where('pool', '=', params.pool)
    .where('status', '=', sql.lit('queued'))
    .limit(1),
);

export function* queuedToolPools<P extends { readonly tenantId: string; readonly pool: string }>(
  pools: readonly P[],
): Program<readonly P[]> {
  const found: P[] = [];
  for (const each of pools) if ((yield* run(anyQueued, { tenant: each.tenantId, pool: each.pool })).length > 0) found.push(each);
  return found;
}

export function* pruneToolCalls(nowMs: number, limit: number): Program<number> {
  return yield* write(sql`delete from tool_calls where (tenant_id, call_key) in
    (select tenant_id, call_key from tool_calls where expires_at < ${nowMs} order by expires_at limit ${limit})`);
}

function workerFromRow(row: Row<typeof toolWorkers>): ToolWorkerRow {
  return {
    tenantId: row.tenant_id as ToolWorkerRow['tenantId'],
    workerId: row.worker_id,
    pool: row.pool,
    nodeId: row.node_id,
    about: parse(row.about),
    connectedAt: row.connected_at,
    seenAt: row.seen_at,
  };
}

export function* putToolWorker(worker: ToolWorkerRow): Program<void> {
  const { tenantId, workerId, pool, nodeId, about, connectedAt, seenAt } = worker;
  yield* write(sql`insert into tool_workers (tenant_id, worker_id, pool, node_id, about, connected_at, seen_at)
    values (${tenantId}, ${workerId}, ${pool}, ${nodeId}, ${json(about)}, ${connectedAt}, ${seenAt})
    on conflict (tenant_id, worker_id) do update set pool = excluded.pool, node_id = excluded.node_id, about = excluded.about,
      connected_at = excluded.connected_at, seen_at = excluded.seen_at`);
}

export function* deleteToolWorker(tenant: string, workerId: string, nodeId: string): Program<void> {
  yield* write(sql`delete from tool_workers where tenant_id = ${tenant} and worker_id = ${workerId} and node_id = ${nodeId}`);
}

export function* touchToolWorkers(nodeId: string, nowMs: number): Program<void> {
  yield* write(sql`update tool_workers set seen_at = ${nowMs} where node_id = ${nodeId}`);
}

export function* listToolWorkers(tenant: string, seenSince: number, limit: number): Program<readonly ToolWorkerRow[]> {
  const rows = yield* query(({ db }) =>
    db
      .selectFrom('tool_workers')
      .selectAll()
      .where('tenant_id', '=', tenant)
      .where('seen_at', '>=', seenSince)
      .orderBy('connected_at', 'desc')
      .orderBy('worker_id')
      .limit(limit),
  );
  return rows.map(workerFromRow);
}

export function* pruneToolWorkers(seenBefore: number, limit: number): Program<number> {
  return yield* write(sql`delete from tool_workers where (tenant_id, worker_id) in
    (select tenant_id, worker_id from tool_workers where seen_at < ${seenBefore} order by seen_at limit ${limit})`);
}
