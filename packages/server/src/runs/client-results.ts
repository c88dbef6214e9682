import { type ClientCall, type ClientTool, type ClientToolResult, isTerminal } from '@nexus-agent/protocol';
import { NexusError, parseExactJson, toTimestamp } from '#core';
import type { Principal } from '#identity';
import type { Wake } from '#runs/dispatch';
import { loadState, toJournalEvent } from '#runs/journal';
import { type AgentSource, awaitsClient, clientResultId, type Engine, keptOf } from '#runs/steps';
import type { ApprovalRow, RunRow } from '#storage';
import { type ArtifactOfCall, artifactReader, outputFault, selectTools } from '#tools';
import { runRow } from './lookup.ts';

/** What a client posts, as it is kept. */
interface Given {
  readonly decision: 'answer' | 'fail';
  readonly answer: { readonly result?: string; readonly note?: string; readonly artifact?: ArtifactOfCall };
}

/** What is said of a result, and to whom. */
interface OfRun {
  readonly clientTools: readonly ClientTool[];
  /** Whether the agent can read what is kept of results. */
  readonly isReader: boolean;
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
 * Throws `not_found` for a call that no client is to execute, `invalid_request` for an output that does not fit the schema of its tool, and `conflict`
 * when it has another result, its time is over or its run has ended: nothing of what is posted is kept then, and a call that waits goes on waiting.
 */
export async function giveClientResult(
  { engine, agents, wake }: { readonly engine: Engine; readonly agents: AgentSource; readonly wake: Wake },
  principal: Principal,
  { runId, callId }: { readonly runId: string; readonly callId: string },
  result: ClientToolResult,
): Promise<void> {
  const { store, clock } = engine;
  const { tenantId } = principal;
  const run = await runRow(store, principal, runId);
  const id = clientResultId(run.runId, callId);
  const row = await store.getApproval(tenantId, id);
  if (row === null || row.kind !== 'client_result')
    throw new NexusError('not_found', `run ${runId} has no call ${callId} whose result a client is to post`);
  if (row.status !== 'pending' && row.decision === null) throw over(row);
  // The clock of this process may just have been set; the run waits by that of the database.
  if (row.status === 'pending' && row.deadlineAt <= clock.now() && row.deadlineAt <= (await store.now())) throw over(row);
  const ofRun = await aboutRun(engine, agents, run);
  if (row.status === 'pending') requireFit(engine, row, ofRun, result);
  const given = await keptResult(engine, tenantId, ofRun, result);
  if (row.status !== 'pending') return same(row, given);
  const answered = await store.answerApproval(tenantId, id, { ...given, decidedBy: principal.id, at: clock.now() });
  if (answered.type === 'not_found') throw new NexusError('not_found', `there is no run ${runId} any more`);
  if (answered.type === 'already') return same(answered.approval, given);
  wake({ tenantId, runId: run.runId });
}

async function aboutRun({ store }: Engine, agents: AgentSource, { tenantId, runId }: RunRow): Promise<OfRun> {
  const [first] = (await store.readEvents(tenantId, runId, { after: 0, limit: 1 })).map(toJournalEvent);
  if (first?.type !== 'run.created') throw new NexusError('internal', `the journal of ${runId} does not begin with the run`);
  const { agent, agentVersion, clientTools = [] } = first.data;
  const offered = await agents.get(tenantId, agent, agentVersion).then(
    ({ definition }) => definition.tools,
    (error: unknown) => {
      if (error instanceof NexusError && error.code === 'not_found') return []; // of a run that has ended it may be gone
      throw error;
    },
  );
  return { clientTools, isReader: selectTools([{ name: artifactReader }], offered).length > 0 };
}

/** The output is a value as JSON, or a text as it is: one of them has to fit. */
function requireFit({ schemas }: Engine, { toolName, callId }: ApprovalRow, { clientTools }: OfRun, result: ClientToolResult): void {
  const tool = clientTools.find(({ name }) => name === toolName);
  if (tool?.outputSchema === undefined || !('output' in result)) return;
  const value = jsonOrText(result.output);
  const fault = outputFault(schemas, tool, value);
  if (fault === null || (value !== result.output && outputFault(schemas, tool, result.output) === null)) return;
  const { path, expected, actual } = fault.issue;
  throw new NexusError('invalid_request', `${fault.message}; call ${callId} waits on for one that does, or for an error`, {
    details: { issues: [{ path: path === '' ? 'output' : `output.${path}`, expected, actual }] },
  });
}

function jsonOrText(text: string): unknown {
  try {
    return parseExactJson(text);
  } catch {
    return text;
  }
}

async function keptResult({ secrets, longTexts }: Engine, tenantId: string, { isReader }: OfRun, result: ClientToolResult): Promise<Given> {
  if (!('output' in result)) return secrets.inData({ decision: 'fail', answer: { note: result.error } });
  if (longTexts === undefined) return secrets.inData({ decision: 'answer', answer: { result: result.output } });
  const { output, artifact } = await longTexts.keep({ tenantId, text: result.output, isReader });
  return { decision: 'answer', answer: { result: output, ...(artifact === undefined ? {} : { artifact }) } };
}

/** A client that heard no answer posts once more. Throws `conflict` for another result. */
function same(row: ApprovalRow, { decision, answer }: Given): void {
  if (row.decision === null) throw over(row);
  const isSame =
    row.decision === decision && (answer.artifact === undefined ? hasTexts(row, answer) : keptOf(row)?.sha256 === answer.artifact.sha256);
  if (!isSame) throw new NexusError('conflict', `call ${row.callId} has another result already`);
}

function hasTexts({ answer }: ApprovalRow, { result, note }: Given['answer']): boolean {
  return answer?.result === result && answer?.note === note;
}

function over({ callId, status }: ApprovalRow): NexusError {
  const why = status === 'cancelled' ? 'its run has ended' : 'its time is over';
  return new NexusError('conflict', `the result of call ${callId} is not waited for any more: ${why}`);
}
