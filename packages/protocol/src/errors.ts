import { z } from 'zod';

/** What a caller needs to know of an error code. `grpcStatus` is the canonical status name. */
export interface ErrorEntry {
  readonly httpStatus: number;
  readonly grpcStatus: string;
  /** True when the same request may succeed later without being changed. */
  readonly retryable: boolean;
  readonly title: string;
}

/**
 * Every error that leaves the system carries one of these codes. A test pins the whole table by literals: to change a
 * row is to change the public interface.
 */
export const errorTable = {
  // The request
  invalid_request: { httpStatus: 400, grpcStatus: 'INVALID_ARGUMENT', retryable: false, title: 'The request is not valid' },
  unauthenticated: { httpStatus: 401, grpcStatus: 'UNAUTHENTICATED', retryable: false, title: 'Authentication is required' },
  forbidden: { httpStatus: 403, grpcStatus: 'PERMISSION_DENIED', retryable: false, title: 'The key does not permit this' },
  origin_not_allowed: {
    httpStatus: 403,
    grpcStatus: 'PERMISSION_DENIED',
    retryable: false,
    title: 'This host or origin may not use the local API',
  },
  not_found: { httpStatus: 404, grpcStatus: 'NOT_FOUND', retryable: false, title: 'There is no such resource' },
  method_not_allowed: { httpStatus: 405, grpcStatus: 'UNIMPLEMENTED', retryable: false, title: 'The method is not allowed here' },
  conflict: { httpStatus: 409, grpcStatus: 'ABORTED', retryable: false, title: 'The resource is in another state than the request needs' },
  idempotency_conflict: {
    httpStatus: 409,
    grpcStatus: 'ALREADY_EXISTS',
    retryable: false,
    title: 'The idempotency key was used for another request',
  },
  payload_too_large: { httpStatus: 413, grpcStatus: 'RESOURCE_EXHAUSTED', retryable: false, title: 'The request is too large' },
  unsupported_media_type: { httpStatus: 415, grpcStatus: 'INVALID_ARGUMENT', retryable: false, title: 'The content type is not supported' },
  rate_limited: { httpStatus: 429, grpcStatus: 'RESOURCE_EXHAUSTED', retryable: true, title: 'Too many requests' },
  // Control
  policy_denied: { httpStatus: 403, grpcStatus: 'PERMISSION_DENIED', retryable: false, title: 'Policy does not allow this' },
  budget_exceeded: { httpStatus: 402, grpcStatus: 'RESOURCE_EXHAUSTED', retryable: false, title: 'The budget does not cover this' },
  price_unknown: { httpStatus: 403, grpcStatus: 'FAILED_PRECONDITION', retryable: false, title: 'The model has no known price' },
  approval_denied: { httpStatus: 403, grpcStatus: 'PERMISSION_DENIED', retryable: false, title: 'A person denied this' },
  approval_expired: { httpStatus: 403, grpcStatus: 'DEADLINE_EXCEEDED', retryable: false, title: 'Nobody answered in time' },
  // Runs
  step_limit_exceeded: { httpStatus: 422, grpcStatus: 'FAILED_PRECONDITION', retryable: false, title: 'The run reached its step limit' },
  loop_detected: { httpStatus: 422, grpcStatus: 'FAILED_PRECONDITION', retryable: false, title: 'The run repeats itself without progress' },
  deadline_exceeded: { httpStatus: 504, grpcStatus: 'DEADLINE_EXCEEDED', retryable: false, title: 'The deadline passed' },
  cancelled: { httpStatus: 499, grpcStatus: 'CANCELLED', retryable: false, title: 'The work was cancelled' },
  lease_lost: { httpStatus: 409, grpcStatus: 'ABORTED', retryable: true, title: 'Another worker took the run over' },
  replay_diverged: { httpStatus: 500, grpcStatus: 'DATA_LOSS', retryable: false, title: 'The journal does not give the recorded state' },
  output_invalid: {
    httpStatus: 422,
    grpcStatus: 'FAILED_PRECONDITION',
    retryable: false,
    title: 'The answer does not fit the output schema',
  },
  // Models
  model_not_found: { httpStatus: 404, grpcStatus: 'NOT_FOUND', retryable: false, title: 'No provider serves this model' },
  context_overflow: { httpStatus: 422, grpcStatus: 'OUT_OF_RANGE', retryable: false, title: 'The conversation does not fit the model' },
  provider_auth: { httpStatus: 502, grpcStatus: 'FAILED_PRECONDITION', retryable: false, title: 'The provider refused our credentials' },
  provider_rejected: { httpStatus: 502, grpcStatus: 'FAILED_PRECONDITION', retryable: false, title: 'The provider refused the request' },
  provider_rate_limited: { httpStatus: 503, grpcStatus: 'RESOURCE_EXHAUSTED', retryable: true, title: 'The provider limits our rate' },
  provider_unavailable: { httpStatus: 503, grpcStatus: 'UNAVAILABLE', retryable: true, title: 'The provider cannot be reached or failed' },
  provider_timeout: { httpStatus: 504, grpcStatus: 'DEADLINE_EXCEEDED', retryable: true, title: 'The provider took too long' },
  provider_stream_cut: { httpStatus: 502, grpcStatus: 'UNAVAILABLE', retryable: true, title: 'The provider ended its stream too early' },
  provider_malformed: {
    httpStatus: 502,
    grpcStatus: 'DATA_LOSS',
    retryable: true,
    title: 'The provider sent something that cannot be read',
  },
  content_filtered: { httpStatus: 422, grpcStatus: 'FAILED_PRECONDITION', retryable: false, title: 'The provider withheld the answer' },
  // Tools and sandbox
  tool_not_found: { httpStatus: 404, grpcStatus: 'NOT_FOUND', retryable: false, title: 'There is no such tool' },
  tool_input_invalid: {
    httpStatus: 400,
    grpcStatus: 'INVALID_ARGUMENT',
    retryable: false,
    title: 'The tool input does not fit its schema',
  },
  tool_failed: { httpStatus: 502, grpcStatus: 'UNKNOWN', retryable: false, title: 'The tool failed' },
  tool_timeout: { httpStatus: 504, grpcStatus: 'DEADLINE_EXCEEDED', retryable: false, title: 'The tool took too long' },
  tool_outcome_unknown: { httpStatus: 409, grpcStatus: 'UNKNOWN', retryable: false, title: 'It is not known whether the tool took effect' },
  path_not_allowed: { httpStatus: 403, grpcStatus: 'PERMISSION_DENIED', retryable: false, title: 'The path is outside the workspace' },
  address_not_allowed: { httpStatus: 403, grpcStatus: 'PERMISSION_DENIED', retryable: false, title: 'The network address is not allowed' },
  sandbox_fuel_exhausted: { httpStatus: 422, grpcStatus: 'RESOURCE_EXHAUSTED', retryable: false, title: 'The code used up its fuel' },
  sandbox_memory_exceeded: { httpStatus: 422, grpcStatus: 'RESOURCE_EXHAUSTED', retryable: false, title: 'The code used up its memory' },
  sandbox_timeout: { httpStatus: 504, grpcStatus: 'DEADLINE_EXCEEDED', retryable: false, title: 'The code ran too long' },
  sandbox_output_exceeded: { httpStatus: 422, grpcStatus: 'RESOURCE_EXHAUSTED', retryable: false, title: 'The code printed too much' },
  sandbox_stack_exceeded: { httpStatus: 422, grpcStatus: 'RESOURCE_EXHAUSTED', retryable: false, title: 'The code recursed too deeply' },
  sandbox_code_error: { httpStatus: 422, grpcStatus: 'INVALID_ARGUMENT', retryable: false, title: 'The code threw an error' },
  sandbox_unavailable: { httpStatus: 503, grpcStatus: 'UNAVAILABLE', retryable: true, title: 'No sandbox is available' },
  // The system
  unavailable: { httpStatus: 503, grpcStatus: 'UNAVAILABLE', retryable: true, title: 'The service is starting, draining or overloaded' },
  storage_unavailable: { httpStatus: 503, grpcStatus: 'UNAVAILABLE', retryable: true, title: 'The database cannot be reached or is busy' },
  schema_too_new: {
    httpStatus: 503,
    grpcStatus: 'FAILED_PRECONDITION',
    retryable: false,
    title: 'The database was migrated by a newer version',
  },
  config_invalid: { httpStatus: 500, grpcStatus: 'FAILED_PRECONDITION', retryable: false, title: 'The configuration is not valid' },
  internal: { httpStatus: 500, grpcStatus: 'INTERNAL', retryable: false, title: 'Something failed inside' },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorTable;

const codes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]; // Object.keys loses the literal type
export const ErrorCode = z.enum(codes);

/** An error as a value: in events, in tool results, in stored runs. Never carries stacks, prompts or secrets. */
export const ErrorInfo = z.object({
  code: ErrorCode,
  message: z.string(),
  retryable: z.boolean().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
});
export type ErrorInfo = z.infer<typeof ErrorInfo>;

/** RFC 9457 body of every failed HTTP answer, and of the `error` event on a stream. */
export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: ErrorCode,
    instance: z.string().optional(),
    retryable: z.boolean(),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'Problem' });
export type Problem = z.infer<typeof Problem>;
