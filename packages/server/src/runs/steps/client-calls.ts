import type { ClientTool, RunId, TenantId } from '@nexus-agent/protocol';
import { artifactRow, type ChargeContext } from '#calls';
import { derivedId, toTimestamp } from '#core';
import type { RunState, ToolCallState } from '#runs/journal';
import type { ApprovalRow } from '#storage';
import { type ArtifactOfCall, describeTool, type ToolDescriptor, withoutArtifact } from '#tools';
import type { Engine } from './engine.ts';
import { merge, type Proposal, propose } from './proposal.ts';
import { artifactInEvent, failure, proposeResult } from './tool-result.ts';

const defaultTimeoutMs = 600_000;

/**
 * A tool that whoever started the run executes: the engine asks policy, reserves, announces the call and waits for its result. What policy
 * judges it by is not for the caller to say.
 */
export function clientTool({ name, description, inputSchema, timeoutMs }: ClientTool): ToolDescriptor {
  return describeTool({
    name,
    description,
    inputSchema: inputSchema ?? { type: 'object' },
    effects: 'once',
    permissions: ['client'],
    timeoutMs: timeoutMs ?? defaultTimeoutMs,
    source: 'client',
    tier: 'remote',
    kind: 'client',
  });
}

/** Where the result of a call is posted: one row for each call, whoever asks for it. */
export function clientResultId(runId: RunId, callId: string): string {
  return derivedId('approval', `${runId}/${callId}`);
}

/** The row that a call waits by. */
export function awaitedResult(
  engine: Engine,
  { tenantId, runId, sessionId }: Pick<ApprovalRow, 'tenantId' | 'runId' | 'sessionId'>,
  call: { readonly callId: string; readonly toolName: string; readonly until: string },
): ApprovalRow {
  return {
    ...{ tenantId, runId, sessionId, callId: call.callId, toolName: call.toolName },
    approvalId: clientResultId(runId, call.callId),
    kind: 'client_result',
    status: 'pending',
    input: null, // it is in the journal
    question: null,
    role: null,
    defaultDecision: 'fail',
    deadlineAt: Date.parse(call.until),
    decision: null,
    answer: null,
    decidedBy: null,
    decidedAt: null,
    createdAt: engine.clock.now(),
  };
}

/** Whose result a client is to post. */
export function awaitsClient({ phase }: ToolCallState): boolean {
  return phase.type === 'asleep' && phase.awaits === 'client';
}

/** What is kept beside the result that a client gave. */
export function keptOf({ answer }: Pick<ApprovalRow, 'answer'>): ArtifactOfCall | undefined {
  return answer?.artifact as ArtifactOfCall | undefined; // as it was written beside the result
}

/**
 * What clients have posted, and the calls whose time is over by the clock of the store.
 *
 * @param refused artifacts for which there is no room: those results are cut
 */
export async function collectClientResults(
  engine: Engine,
  { charge, tenantId, runId }: { readonly charge: ChargeContext; readonly tenantId: TenantId; readonly runId: RunId },
  state: RunState,
  refused: ReadonlySet<string> = new Set(),
): Promise<Proposal> {
  const waiting = state.calls.filter(awaitsClient);
  if (waiting.length === 0) return merge([]);
  const now = await engine.store.now();
  const proposals = waiting.map(async (call) => {
    const row = await engine.store.getApproval(tenantId, clientResultId(runId, call.callId));
    return ended(charge, state, call, row, now, refused);
  });
  return merge(await Promise.all(proposals));
}

function ended(
  charge: ChargeContext,
  state: RunState,
  call: ToolCallState,
  row: ApprovalRow | null,
  now: number,
  refused: ReadonlySet<string>,
): Proposal {
  if (call.phase.type !== 'asleep') return propose({});
  if (row !== null && row.decision !== null) {
    const { decidedBy, decision, answer } = row;
    const by = decidedBy === null ? {} : { givenBy: decidedBy };
    if (decision !== 'answer') return proposeResult(state, call, { ...failure('tool_failed', answer?.note ?? 'it failed'), ...by });
    const artifact = keptOf(row);
    const output = answer?.result ?? '';
    if (artifact === undefined) return proposeResult(state, call, { type: 'ok', output, ...by });
    if (refused.has(artifact.artifactId))
      return proposeResult(state, call, { type: 'ok', ...withoutArtifact({ output, artifact }), ...by });
    return merge([
      proposeResult(state, call, { type: 'ok', output, artifact: artifactInEvent(artifact), ...by }),
      propose({ artifacts: [artifactRow(charge, { callId: call.callId, tool: call.name }, artifact)] }),
    ]);
  }
  if (Date.parse(call.phase.until) > now) return propose({});
  const late = failure(
    'tool_timeout',
    `the program that is to do ${call.name} gave no result by ${toTimestamp(Date.parse(call.phase.until))}`,
  );
  const closeApprovals = row === null ? [] : [{ approvalId: row.approvalId, status: 'expired' as const }];
  return merge([proposeResult(state, call, late), propose({ closeApprovals })]);
}
