import type { Driver } from '#storage/drivers';
import type { Chronicle } from './chronicle.ts';
import { selectAll } from './rows.ts';
import type { OutsideEffect } from './tools.ts';
import { Violation } from './violation.ts';

/** Each attempt was done once at most, under the key of its call, and what may be done once only as often as people said. */
export function checkWork(chronicle: Chronicle, effects: readonly OutsideEffect[]): void {
  const retriesOf = new Map<string, number>();
  for (const { runId, events } of chronicle.stories.values()) {
    for (const { type, data } of events) {
      if (type !== 'approval.decided' || data.kind !== 'unknown_outcome' || data.decision !== 'retry') continue;
      const call = `${runId} ${String(data.callId)}`;
      retriesOf.set(call, (retriesOf.get(call) ?? 0) + 1);
    }
  }
  const doneOf = new Map<string, OutsideEffect[]>();
  for (const effect of effects) {
    const call = `${effect.runId} ${effect.callId}`;
    const attempt = `${call} ${effect.attempt}`;
    const before = doneOf.get(call) ?? [];
    if (before.some(({ attempt: other }) => other === effect.attempt))
      throw new Violation(`work: ${attempt} of ${effect.tool} was done twice`);
    if (before.some(({ idempotencyKey }) => idempotencyKey !== effect.idempotencyKey))
      throw new Violation(`work: ${call} of ${effect.tool} was done under two keys`);
    doneOf.set(call, [...before, effect]);
  }
  for (const [call, done] of doneOf) {
    if (done[0]?.tool === 'pay' && done.length > 1 + (retriesOf.get(call) ?? 0))
      throw new Violation(`work: ${call} paid ${done.length} times, and a person said ${retriesOf.get(call) ?? 0} times that it may`);
  }
}

/** Once faults have ended and people have answered: everything has come to an end. */
export async function checkEnd(database: Driver): Promise<void> {
  const open = await selectAll(
    database,
    "select run_id, status, waiting, lease_owner, due_at from runs where status not in ('completed', 'failed', 'cancelled') order by run_id",
  );
  if (open.length > 0) throw new Violation(`liveness: ${open.length} runs do not end: ${JSON.stringify(open.slice(0, 3))}`);
  const held = await selectAll(
    database,
    "select reservation_id, run_id, expires_at from reservations where state = 'open' order by reservation_id",
  );
  if (held.length > 0) throw new Violation(`liveness: ${held.length} reservations outlive their runs: ${JSON.stringify(held.slice(0, 3))}`);
}
