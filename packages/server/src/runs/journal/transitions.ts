import type { JournalData, JournalEvent, Message, NewEvent, RunTotals, SessionReading, ToolCallPart } from '@nexus-agent/protocol';
import { canonicalJson, derivedId, NexusError, sha256 } from '#core';
import { withSomethingSaid } from './spoken.ts';
import { emptyTotals, initialState, type RunState, type ToolCallPhase, type ToolCallState } from './state.ts';

/**
 * The state after one more event: pure, total over the event union, and the only way a state ever changes. Live runs,
 * recovery, replay and fork all go through here.
 *
 * Throws `replay_diverged` when the event cannot follow the state (a gap in `seq`, a call that was never requested).
 */
export function transition(state: RunState, event: JournalEvent): RunState {
  return fold([event], state);
}

/** The state of a whole journal. */
export function fold(events: Iterable<JournalEvent>, from: RunState = initialState): RunState {
  let state = from;
  let { lastSeq } = from;
  for (const event of events) {
    if (event.seq !== lastSeq + 1) {
      throw new NexusError('replay_diverged', `event ${event.seq} cannot follow event ${lastSeq} of the journal`);
    }
    state = applyEvent(state, event, event.seq);
    state = withoutCopied(state, event.seq);
    lastSeq = event.seq;
  }
  return { ...state, lastSeq };
}

/** Folds events that have no number yet. */
export function foldNew(from: RunState, events: readonly NewEvent[]): RunState {
  let state = from;
  let { lastSeq } = from;
  for (const event of events) {
    lastSeq += 1;
    state = withoutCopied(applyEvent(state, event, lastSeq), lastSeq);
  }
  return lastSeq === from.lastSeq ? from : { ...state, lastSeq };
}

/** What a fork begins with was paid for by the original. */
function withoutCopied(state: RunState, seq: number): RunState {
  const copied = state.created?.copied;
  return copied !== undefined && seq <= copied + 1 ? { ...state, totals: emptyTotals } : state;
}

/** Fingerprint of everything in the state that decides what happens next; recorded at the end, checked by replay. */
export function stateHash(state: RunState): string {
  const { lastSeq: _, openReservations: __, ...rest } = state;
  return sha256(JSON.stringify(rest));
}

/** The id of a call that a call makes: the same, however often that has to be told. */
export function nestedCallId(parentCallId: string, id: number): string {
  return derivedId('call', `${parentCallId}/${id}`);
}

/** The id of a tool call: the same for every worker that folds the same journal. */
export function toolCallId(runId: string, step: number, index: number): string {
  return derivedId('call', `${runId}/${step}/tool/${index}`);
}

function applyEvent(state: RunState, event: NewEvent, seq: number): RunState {
  switch (event.type) {
    case 'run.created':
      return { ...state, created: event.data, messages: [{ role: 'user', content: event.data.input }] };
    case 'run.started':
      return { ...state, status: 'running', ...readingOf(event.data) };
    case 'run.resumed':
      return {
        ...withoutRefusedAnswer(state),
        status: 'running',
        waitingFor: null,
        error: null,
        resumable: false,
        ...readingOf(event.data),
      };
    case 'step.started': {
      const { refused } = state;
      const next = { ...state, step: event.data.step, model: null, answer: null, calls: [] };
      return refused === undefined ? next : { ...next, refused: { ...refused, isOpen: false } };
    }
    case 'model.started': {
      const { callId, attempt, purpose, provider, model, maxTokens, clamped, reservationId, inputTokens } = event.data;
      return {
        ...state,
        model: {
          callId,
          seq,
          attempt,
          purpose,
          provider,
          model,
          maxTokens,
          clamped: clamped ?? false,
          reservationId,
          ...(inputTokens === undefined ? {} : { inputTokens }),
          phase: 'started',
        },
        totals: { ...state.totals, modelCalls: state.totals.modelCalls + 1 },
      };
    }
    case 'model.completed':
      return afterModel(state, event.data);
    case 'model.failed':
      return {
        ...state,
        model: state.model === null ? null : { ...state.model, phase: 'failed' },
        totals: addUsage(state.totals, event.data.usage?.inputTokens ?? 0, event.data.usage?.outputTokens ?? 0),
      };
    case 'context.learned':
      return learnContext(state, event.data);
    case 'answer.refused':
      return {
        ...state,
        answer: null,
        refused: { count: (state.refused?.count ?? 0) + 1, isOpen: true },
        messages: [...state.messages.map(withSomethingSaid), { role: 'user', content: [{ type: 'text', text: event.data.message }] }],
      };
    case 'tool.requested':
      return requestTool(state, event.data);
    case 'tool.started': {
      const { attempt, counted, resumes, effects, idempotencyKey, reservationId, childRunId, until, awaits } = event.data;
      const next = updateCall(state, event.data.callId, (call) => {
        const input = resumes === undefined ? event.data.input : call.attempt?.input;
        return {
          ...call,
          phase: until === undefined ? { type: 'started' } : { type: 'asleep', until, ...(awaits === undefined ? {} : { awaits }) },
          attempt: { attempt, effects, input, idempotencyKey, reservationId: reservationId ?? null, childRunId: childRunId ?? null },
        };
      });
      return attempt > 1 && !counted ? next : { ...next, totals: { ...next.totals, toolCalls: next.totals.toolCalls + 1 } };
    }
    case 'tool.suspended':
      return suspendTool(state, event.data);
    case 'tool.completed':
      return completeTool(state, event.data);
    case 'approval.requested': {
      const { approvalId, kind, deadlineAt } = event.data;
      return setPhase(state, event.data.callId, { type: 'awaiting', approvalId, kind, deadlineAt });
    }
    case 'approval.decided': {
      const { kind, decision, result, note, role, decidedBy } = event.data;
      const phase: ToolCallPhase = {
        type: 'decided',
        kind,
        decision,
        arguments: event.data.arguments,
        result: result ?? null,
        note: note ?? null,
        role: role ?? null,
        decidedBy,
      };
      const allows = decision === 'approve' || decision === 'retry';
      return updateCall(state, event.data.callId, (call) => ({
        ...call,
        phase,
        approval: allows ? { by: decidedBy, role: role ?? null } : call.approval,
      }));
    }
    case 'budget.reserved':
      return { ...state, openReservations: { ...state.openReservations, [event.data.reservationId]: event.data.amounts } };
    case 'budget.settled': {
      const { reservationId, amounts, adds = {} } = event.data;
      const { [reservationId]: _, ...open } = state.openReservations;
      const totals = addUsage(state.totals, adds.inputTokens ?? 0, adds.outputTokens ?? 0);
      const toolCalls = totals.toolCalls + (adds.toolCalls ?? 0);
      const costMicroUsd = totals.costMicroUsd + (amounts.costMicroUsd ?? 0);
      return { ...state, openReservations: open, totals: { ...totals, toolCalls, costMicroUsd } };
    }
    case 'step.restarted':
      if (event.data.kind === 'tool') return setPhase(state, event.data.callId, { type: 'requested' });
      return state.model === null ? state : { ...state, model: { ...state.model, phase: 'failed' } };
    case 'run.waiting': {
      const { reason, approvals, childRuns } = event.data;
      return { ...state, status: 'waiting', waitingFor: { reason, approvals: approvals ?? [], childRuns: childRuns ?? [] } };
    }
    case 'message.completed':
      return { ...state, output: event.data.text };
    case 'run.completed':
      return { ...state, status: 'completed', totals: event.data.totals };
    case 'run.failed':
      return { ...state, status: 'failed', totals: event.data.totals, error: event.data.error, resumable: event.data.resumable };
    case 'run.cancelled':
      return { ...state, status: 'cancelled', totals: event.data.totals };
    case 'route.fallback':
    case 'budget.refused':
    case 'policy.denied':
      return state;
    default:
      return unknownEvent(event);
  }
}

/** Of a size at which a request was refused that should have fitted. */
const refusedShare = 0.8;

/** Only ever less: what was refused once is not tried again, and each refusal makes it less. */
function learnContext(state: RunState, data: Extract<JournalEvent, { type: 'context.learned' }>['data']): RunState {
  const name = `${data.provider}/${data.model}`;
  const known = state.contexts?.[name] ?? Number.POSITIVE_INFINITY;
  const most = data.reason === 'refused' && Number.isFinite(known) ? Math.floor(known * refusedShare) : known;
  const contexts = { ...state.contexts, [name]: Math.min(data.contextTokens, most) };
  if (data.reason === 'cut') return { ...state, contexts };
  const { count, running } = state.overflows ?? { count: 0, running: 0 };
  return { ...state, contexts, overflows: { count: count + 1, running: running + 1, callId: data.callId } };
}

/** Absent, and not undefined or null, where there is none: the hashes of older journals stay what they were. */
function readingOf({ reading }: { readonly reading?: SessionReading | undefined }): Pick<RunState, 'reading'> {
  return reading === undefined ? {} : { reading };
}

/** A run that failed on its answer (cut by the budget, or not fit for the schema) asks again when it is resumed. */
function withoutRefusedAnswer(state: RunState): RunState {
  if (state.status !== 'failed' || state.answer === null || state.calls.length > 0) return state;
  return { ...state, answer: null, messages: state.messages.slice(0, -1) };
}

function unknownEvent(event: never): never {
  throw new NexusError('replay_diverged', `the journal holds an event of unknown type: ${JSON.stringify(event).slice(0, 80)}`);
}

function addUsage(totals: RunTotals, inputTokens: number, outputTokens: number): RunTotals {
  return { ...totals, inputTokens: totals.inputTokens + inputTokens, outputTokens: totals.outputTokens + outputTokens };
}

function afterModel(state: RunState, data: Extract<JournalEvent, { type: 'model.completed' }>['data']): RunState {
  const totals = addUsage(state.totals, data.usage.inputTokens, data.usage.outputTokens);
  if (data.purpose === 'compaction') {
    const text = data.content.map((part) => (part.type === 'text' ? part.text : '')).join('');
    return {
      ...state,
      totals,
      model: null,
      compactions: state.compactions + 1,
      summary: { text, replaces: data.replacesMessages ?? 0 },
    };
  }
  const answer: Message = { role: 'assistant', content: data.content };
  return {
    ...state,
    totals,
    model: null,
    ...(state.overflows === undefined ? {} : { overflows: { ...state.overflows, running: 0 } }),
    answer: {
      content: data.content,
      finishReason: data.finishReason,
      maxTokens: state.model?.maxTokens ?? 0,
      clamped: state.model?.clamped ?? false,
    },
    messages: [...state.messages, answer],
  };
}

function requestTool(state: RunState, data: Extract<JournalEvent, { type: 'tool.requested' }>['data']): RunState {
  if (data.parentCallId !== undefined) return requestNested(state, data.parentCallId, data);
  const parts = state.answer?.content.filter((part): part is ToolCallPart => part.type === 'tool_call') ?? [];
  const part = parts[data.index];
  if (part === undefined) throw new NexusError('replay_diverged', `the model's answer has no tool call number ${data.index}`);
  const call: ToolCallState = {
    callId: data.callId,
    index: data.index,
    providerCallId: part.providerCallId,
    name: data.name,
    input: data.input,
    invalidInput: part.invalidInput ?? null,
    phase: { type: 'requested' },
    approval: null,
    attempt: null,
  };
  return { ...state, calls: [...state.calls, call] };
}

function requestNested(state: RunState, parentCallId: string, data: JournalData<'tool.requested'>): RunState {
  if (!state.calls.some(({ callId, phase }) => callId === parentCallId && phase.type === 'suspended'))
    throw new NexusError('replay_diverged', `call ${data.callId} is made by call ${parentCallId}, which waits for none`);
  const { callId, index, name, input, invalidInput = null } = data;
  const phase = { type: 'requested' as const };
  const call: ToolCallState = {
    ...{ callId, index, providerCallId: '', name, input, invalidInput, phase, approval: null, parentCallId, attempt: null },
  };
  return { ...state, calls: [...state.calls, call] };
}

/** What it waited for before has been told to it. */
function suspendTool(state: RunState, { callId, state: content, fuelUsed }: JournalData<'tool.suspended'>): RunState {
  const next = updateCall(state, callId, (call) => ({
    ...call,
    phase: { type: 'suspended' },
    suspension: { count: (call.suspension?.count ?? 0) + 1, state: content, fuelUsed, ended: [] },
  }));
  return { ...next, calls: next.calls.filter(({ parentCallId }) => parentCallId !== callId) };
}

function endNested(state: RunState, { callId, index, parentCallId }: ToolCallState, data: JournalData<'tool.completed'>): RunState {
  const { output, status } = data;
  const isError = status !== 'ok';
  const next = withoutNested(setPhase(state, callId, { type: 'completed', output: '', isError }), callId);
  return updateCall(next, parentCallId ?? '', (parent) =>
    parent.suspension === undefined
      ? parent
      : { ...parent, suspension: { ...parent.suspension, ended: [...parent.suspension.ended, { id: index, isError, output }] } },
  );
}

function updateCall(state: RunState, callId: string, change: (call: ToolCallState) => ToolCallState): RunState {
  let found = false;
  const calls = state.calls.map((call) => {
    if (call.callId !== callId) return call;
    found = true;
    return change(call);
  });
  if (!found) throw new NexusError('replay_diverged', `the journal speaks of tool call ${callId}, which was never requested`);
  return { ...state, calls };
}

function setPhase(state: RunState, callId: string, phase: ToolCallPhase): RunState {
  return updateCall(state, callId, (call) => ({ ...call, phase }));
}

/** Results may come in any order; the model is given them in the order it asked for them, once all are there. */
function completeTool(state: RunState, data: JournalData<'tool.completed'>): RunState {
  const { callId, output, note, status } = data;
  const ended = state.calls.find((call) => call.callId === callId);
  if (ended?.parentCallId !== undefined) return endNested(state, ended, data);
  const told = note === undefined ? output : `${output}\n\n${note}`;
  const completed = setPhase(state, callId, { type: 'completed', output: told, isError: status !== 'ok' });
  const next = withoutNested(completed, callId);
  const results = [];
  for (const call of next.calls) {
    if (call.parentCallId !== undefined) continue;
    if (call.phase.type !== 'completed') return next;
    results.push({
      type: 'tool_result' as const,
      providerCallId: call.providerCallId,
      name: call.name,
      output: call.phase.output,
      isError: call.phase.isError,
    });
  }
  const requested = next.answer?.content.filter((part) => part.type === 'tool_call').length ?? 0;
  if (results.length < requested) return next;
  const signature = sha256(canonicalJson(next.calls.map((call) => [call.name, call.input, call.phase])));
  return { ...next, messages: [...next.messages, { role: 'tool', content: results }], signatures: [...next.signatures, signature] };
}

/** What a call made is over with it. */
function withoutNested(state: RunState, callId: string): RunState {
  if (!state.calls.some((call) => call.callId === callId && call.suspension !== undefined)) return state;
  const ended = updateCall(state, callId, ({ suspension: _, ...call }) => call);
  return { ...ended, calls: ended.calls.filter((call) => call.parentCallId !== callId) };
}
