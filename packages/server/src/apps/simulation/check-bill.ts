import type { Driver } from '#storage/drivers';
import type { Chronicle } from './chronicle.ts';
import type { BilledCall } from './models.ts';
import { selectAll } from './rows.ts';
import type { OutsideEffect } from './tools.ts';
import { Violation } from './violation.ts';

interface Booked {
  readonly costMicroUsd: number;
  readonly toolCalls: number;
}

interface Done {
  readonly billed: readonly BilledCall[];
  readonly effects: readonly OutsideEffect[];
}

/** What was reserved for a call is in its announcements; for a call without a run it is in the books alone. */
function reservationsOf({ stories }: Chronicle): ReadonlyMap<string, readonly { readonly id: string; readonly attempt: unknown }[]> {
  const found = new Map<string, { readonly id: string; readonly attempt: unknown }[]>();
  for (const { events } of stories.values())
    for (const { seq, type, data } of events) {
      if ((type !== 'model.started' && type !== 'tool.started') || seq <= 1 + Number(events[0]?.data.copied ?? 0)) continue;
      const call = String(data.callId);
      found.set(call, [...(found.get(call) ?? []), { id: String(data.reservationId), attempt: data.attempt }]);
    }
  return found;
}

async function bookedBy(database: Driver): Promise<ReadonlyMap<string, Booked>> {
  const rows = await selectAll(
    database,
    'select reservation_id, sum(cost_micro_usd) as cost, sum(tool_calls) as calls from ledger_entries group by reservation_id',
  );
  return new Map(
    rows.map(({ reservation_id, cost, calls }) => [String(reservation_id), { costMicroUsd: Number(cost), toolCalls: Number(calls) }]),
  );
}

/**
 * What was done outside is paid for, call by call: what model servers would charge is booked by the reservations of the call, never less,
 * unless they themselves said otherwise; and so is each tool that did something, by that of its attempt. Throws {@link Violation}.
 */
export async function checkBill(database: Driver, chronicle: Chronicle, { billed, effects }: Done): Promise<void> {
  const reservations = reservationsOf(chronicle);
  const booked = await bookedBy(database);
  const costs = new Map<string, { readonly cost: number; readonly isHonest: boolean }>();
  for (const { idempotencyKey, inputTokens, outputTokens, honest, ignoredLimit } of billed) {
    const before = costs.get(idempotencyKey) ?? { cost: 0, isHonest: true };
    const isHonest = before.isHonest && honest && !ignoredLimit;
    costs.set(idempotencyKey, { cost: before.cost + inputTokens + 4 * outputTokens, isHonest });
  }
  for (const [call, { cost, isHonest }] of costs) {
    const paid = (reservations.get(call) ?? []).reduce((sum, { id }) => sum + (booked.get(id)?.costMicroUsd ?? 0), 0);
    if (isHonest && paid < cost) throw new Violation(`bill: servers charge ${cost} micro-USD for ${call}, ${paid} are booked`);
  }
  const alone = new Set<string>();
  for (const { tool, runId, callId, attempt } of effects) {
    if (runId === callId) alone.add(callId);
    const paid = reservations.get(callId)?.find((each) => each.attempt === attempt);
    if (runId !== callId && !((booked.get(paid?.id ?? '')?.toolCalls ?? 0) >= 1))
      throw new Violation(`bill: attempt ${attempt} of ${callId} (${tool}) did its work, and nobody pays for it`);
  }
  const [sum] = await selectAll(database, 'select coalesce(sum(tool_calls), 0) as calls from ledger_entries where run_id is null');
  if (Number(sum?.calls) < alone.size)
    throw new Violation(`bill: ${alone.size} calls without a run did their work, and ${sum?.calls} are booked`);
}
