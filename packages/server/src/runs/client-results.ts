import { type ClientCall, type ClientToolResult, isTerminal } from '@nexus-agent/protocol';
import { NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import type { Wake } from '#runs/dispatch';
import { loadState } from '#runs/journal';
import { awaitsClient, clientResultId, type Engine } from '#runs/steps';
import type { ApprovalRow } from '#storage';
import { runRow } from './lookup.ts';

/** What a client posts, as it is kept. */
interface Given {
  readonly decision: 'answer' | 'fail';
  readonly answer: { readonly result?: string; readonly note?: string };
}

/** The calls of a run that is under way which wait for whoever started it, in the order of the model. */
export async function clientCalls({ store }: Pick<Engine, 'store'>, principal: Principal, runId: string): Promise<readonly ClientCall[]> {
  const row = await runRow(store, principal, runId);
  if (isTerminal(row.status)) return [];
  const { calls } = await loadState(store, principal.tenantId, row.runId);
  const now = await store.now();
  const waiting = calls.filter(awaitsClient).map(async (call) => {
    const awaited = await store.getApproval(principal.tenantId, clientResultId(row.runId, call.callId));
    // One that has its result, which its run has not heard of yet, is done.
    if (awaited?.status !== 'pending' || awaited.deadlineAt <= now) return [];
    const { callId, name } = call;
    return [{ callId, name, arguments: call.attempt?.input ?? call.input, deadlineAt: toTimestamp(awaited.deadlineAt) }];
  });
  return (await Promise.all(waiting)).flat();
}

/**
 * Takes the result of a call that a client executed; its run goes on, whichever process drives it. The same result may be posted again.
 * Throws `not_found` for a call that no client is to execute, and `conflict` when it has another result, its time is over or its run
 * has ended: nothing of what is posted is kept then.
 */
export async function giveClientResult(
  { engine, wake }: { readonly engine: Engine; readonly wake: Wake },
  principal: Principal,
  { runId, callId }: { readonly runId: string; readonly callId: string },
  result: ClientToolResult,
): Promise<void> {
  const { store, clock, secrets } = engine;
  const { tenantId } = principal;
  const run = await runRow(store, principal, runId);
  const id = clientResultId(run.runId, callId);
  const row = await store.getApproval(tenantId, id);
  if (row === null || row.kind !== 'client_result')
    throw new NexusError('not_found', `run ${runId} has no call ${callId} whose result a client is to post`);
  const given = secrets.inData(keptResult(result));
  if (row.status !== 'pending') return same(row, given);
  // The clock of this process may just have been set; the run waits by that of the database.
  if (row.deadlineAt <= clock.now() && row.deadlineAt <= (await store.now())) throw over(row);
  const answered = await store.answerApproval(tenantId, id, { ...given, decidedBy: principal.id, at: clock.now() });
  if (answered.type === 'not_found') throw new NexusError('not_found', `there is no run ${runId} any more`);
  if (answered.type === 'already') return same(answered.approval, given);
  wake({ tenantId, runId: run.runId });
}

function keptResult(result: ClientToolResult): Given {
  return 'output' in result
    ? { decision: 'answer', answer: { result: result.output } }
    : { decision: 'fail', answer: { note: result.error } };
}

/** A client that heard no answer posts once more. Throws `conflict` for another result. */
function same(row: ApprovalRow, { decision, answer }: Given): void {
  if (row.decision === null) throw over(row);
  if (row.decision !== decision || row.answer?.result !== answer.result || row.answer?.note !== answer.note)
    throw new NexusError('conflict', `call ${row.callId} has another result already`);
}

function over({ callId, status }: ApprovalRow): NexusError {
  const why = status === 'cancelled' ? 'its run has ended' : 'its time is over';
  return new NexusError('conflict', `the result of call ${callId} is not waited for any more: ${why}`);
}
