import { expect, it } from 'vitest';
import {
  ErrorInfo,
  errorTable,
  idPrefixes,
  isTypeId,
  journalEventTypes,
  liveEventTypes,
  PolicyShortForm,
  RunId,
  SessionCreateRequest,
  WireEvent,
} from './index.ts';

/** Literals on purpose: what clients rely on must not move because a constant moved. */
const pinnedErrors: Record<string, [httpStatus: number, grpcStatus: string, retryable: boolean, title: string]> = {
  invalid_request: [400, 'INVALID_ARGUMENT', false, 'The request is not valid'],
  unauthenticated: [401, 'UNAUTHENTICATED', false, 'Authentication is required'],
  forbidden: [403, 'PERMISSION_DENIED', false, 'The key does not permit this'],
  origin_not_allowed: [403, 'PERMISSION_DENIED', false, 'This host or origin may not use the local API'],
  not_found: [404, 'NOT_FOUND', false, 'There is no such resource'],
  method_not_allowed: [405, 'UNIMPLEMENTED', false, 'The method is not allowed here'],
  conflict: [409, 'ABORTED', false, 'The resource is in another state than the request needs'],
  session_busy: [409, 'ABORTED', true, 'The session is busy with another run'],
  idempotency_conflict: [409, 'ALREADY_EXISTS', false, 'The idempotency key was used for another request'],
  request_timeout: [408, 'DEADLINE_EXCEEDED', true, 'The request did not arrive in time'],
  payload_too_large: [413, 'RESOURCE_EXHAUSTED', false, 'The request is too large'],
  unsupported_media_type: [415, 'INVALID_ARGUMENT', false, 'The content type is not supported'],
  rate_limited: [429, 'RESOURCE_EXHAUSTED', true, 'Too many requests'],
  quota_exceeded: [409, 'RESOURCE_EXHAUSTED', false, 'There is as much as may be kept'],
  policy_denied: [403, 'PERMISSION_DENIED', false, 'Policy does not allow this'],
  budget_exceeded: [402, 'RESOURCE_EXHAUSTED', false, 'The budget does not cover this'],
  budget_contended: [429, 'RESOURCE_EXHAUSTED', true, 'The budget is held by other calls at the moment'],
  price_unknown: [403, 'FAILED_PRECONDITION', false, 'The model has no known price'],
  approval_denied: [403, 'PERMISSION_DENIED', false, 'A person denied this'],
  approval_expired: [403, 'DEADLINE_EXCEEDED', false, 'Nobody answered in time'],
  step_limit_exceeded: [422, 'FAILED_PRECONDITION', false, 'The run reached its step limit'],
  poisonous: [500, 'ABORTED', false, 'The run kills the processes that drive it'],
  loop_detected: [422, 'FAILED_PRECONDITION', false, 'The run repeats itself without progress'],
  deadline_exceeded: [504, 'DEADLINE_EXCEEDED', false, 'The deadline passed'],
  cancelled: [499, 'CANCELLED', false, 'The work was cancelled'],
  lease_lost: [409, 'ABORTED', true, 'Another worker took the run over'],
  replay_diverged: [500, 'DATA_LOSS', false, 'The journal does not give the recorded state'],
  output_invalid: [422, 'FAILED_PRECONDITION', false, 'The answer does not fit the output schema'],
  model_not_found: [404, 'NOT_FOUND', false, 'No provider serves this model'],
  context_overflow: [422, 'OUT_OF_RANGE', false, 'The conversation does not fit the model'],
  provider_auth: [502, 'FAILED_PRECONDITION', false, 'The provider refused our credentials'],
  provider_rejected: [502, 'FAILED_PRECONDITION', false, 'The provider refused the request'],
  provider_rate_limited: [503, 'RESOURCE_EXHAUSTED', true, 'The provider limits our rate'],
  provider_unavailable: [503, 'UNAVAILABLE', true, 'The provider cannot be reached or failed'],
  provider_timeout: [504, 'DEADLINE_EXCEEDED', true, 'The provider took too long'],
  provider_stream_cut: [502, 'UNAVAILABLE', true, 'The provider ended its stream too early'],
  provider_malformed: [502, 'DATA_LOSS', true, 'The provider sent something that cannot be read'],
  content_filtered: [422, 'FAILED_PRECONDITION', false, 'The provider withheld the answer'],
  tool_not_found: [404, 'NOT_FOUND', false, 'There is no such tool'],
  tool_input_invalid: [400, 'INVALID_ARGUMENT', false, 'The tool input does not fit its schema'],
  tool_failed: [502, 'UNKNOWN', false, 'The tool failed'],
  tool_timeout: [504, 'DEADLINE_EXCEEDED', false, 'The tool took too long'],
  tool_unavailable: [503, 'UNAVAILABLE', true, 'The tool is left alone for a while'],
  login_required: [403, 'FAILED_PRECONDITION', false, 'A person has to log in first'],
  tool_outcome_unknown: [409, 'UNKNOWN', false, 'It is not known whether the tool took effect'],
  path_not_allowed: [403, 'PERMISSION_DENIED', false, 'The path is outside the workspace'],
  address_not_allowed: [403, 'PERMISSION_DENIED', false, 'The network address is not allowed'],
  limit_exceeded: [422, 'RESOURCE_EXHAUSTED', false, 'A limit of the tool was reached'],
  sandbox_code_error: [422, 'INVALID_ARGUMENT', false, 'The code threw an error'],
  sandbox_unavailable: [503, 'UNAVAILABLE', true, 'No sandbox is available'],
  unavailable: [503, 'UNAVAILABLE', true, 'The service is starting, draining or overloaded'],
  storage_unavailable: [503, 'UNAVAILABLE', true, 'The database cannot be reached or is busy'],
  schema_too_new: [503, 'FAILED_PRECONDITION', false, 'The database was migrated by a newer version'],
  config_invalid: [500, 'FAILED_PRECONDITION', false, 'The configuration is not valid'],
  internal: [500, 'INTERNAL', false, 'Something failed inside'],
};

const pinnedPrefixes = {
  session: 'ses',
  run: 'run',
  call: 'call',
  message: 'msg',
  approval: 'apr',
  reservation: 'rsv',
  ledgerEntry: 'led',
  decision: 'dec',
  key: 'key',
  agentVersion: 'agv',
  worker: 'wrk',
  error: 'err',
  request: 'req',
  artifact: 'art',
};

const pinnedJournal = [
  'run.created',
  'run.started',
  'step.started',
  'model.started',
  'model.completed',
  'model.failed',
  'route.fallback',
  'context.learned',
  'answer.refused',
  'tool.requested',
  'tool.started',
  'tool.suspended',
  'tool.completed',
  'approval.requested',
  'approval.decided',
  'budget.reserved',
  'budget.settled',
  'budget.refused',
  'policy.denied',
  'step.restarted',
  'run.waiting',
  'run.resumed',
  'message.completed',
  'run.completed',
  'run.failed',
  'run.cancelled',
];
const pinnedLive = ['model.delta', 'tool.output', 'message.reset', 'stream.lagged', 'error'];

it('keeps every error code with its statuses, its title and whether to try again [verifies protocol.errors.pinned]', () => {
  const table = Object.entries(errorTable).map(([code, entry]) => [
    code,
    [entry.httpStatus, entry.grpcStatus, entry.retryable, entry.title],
  ]);
  expect(Object.fromEntries(table)).toEqual(pinnedErrors);
});

it('keeps the prefixes of ids and the types of events', () => {
  expect(idPrefixes).toEqual(pinnedPrefixes);
  expect(journalEventTypes).toEqual(pinnedJournal);
  expect(liveEventTypes).toEqual(pinnedLive);
});

it('takes a TypeID and nothing that only looks like one', () => {
  expect(isTypeId('run', 'run_01h455vb4pex5vsknk084sn02q')).toBe(true);
  for (const wrong of [
    'run_81h455vb4pex5vsknk084sn02q',
    'run_01h455vb4pex5vsknk084sn02',
    'ses_01h455vb4pex5vsknk084sn02q',
    'run_01H455VB4PEX5VSKNK084SN02Q',
    'run_01h455vb4pex5vsknk084sn0ul',
  ]) {
    expect(RunId.safeParse(wrong).success, wrong).toBe(false);
  }
});

it('reads an event of the wire by its type, and refuses one whose data belongs to another', () => {
  const event = { type: 'step.started', runId: 'run_1', seq: 3, at: '2026-01-01T00:00:00.000Z', data: { step: 1 } };
  expect(WireEvent.parse(event)).toEqual(event);
  expect(WireEvent.safeParse({ ...event, type: 'tool.completed' }).success).toBe(false);
  expect(WireEvent.safeParse({ ...event, type: 'run.exploded' }).success).toBe(false);
});

it('refuses unknown fields of a request and says which', () => {
  const result = SessionCreateRequest.safeParse({ agent: 'chat', budgets: {} });
  expect(result.error?.issues[0]?.message).toContain('budgets');
});

it('refuses budgets that are no whole, small enough amounts', () => {
  for (const tokens of [-1, 1.5, Number.NaN, 1e13, '5'])
    expect(SessionCreateRequest.safeParse({ budget: { tokens } }).success, String(tokens)).toBe(false);
});

it('takes tool, model and host patterns in a short form, nothing else', () => {
  expect(PolicyShortForm.safeParse({ allow: ['fs_*', 'tool:code_js', 'model:openai/gpt-*', 'net:*.example.com'] }).success).toBe(true);
  for (const wrong of ['', 'fs read', 'a"b', 'tool:a;b']) expect(PolicyShortForm.safeParse({ allow: [wrong] }).success, wrong).toBe(false);
});

it('keeps an error value free of what is not part of it', () => {
  expect(ErrorInfo.parse({ code: 'internal', message: 'm', stack: 'secret' })).toEqual({ code: 'internal', message: 'm' });
});
