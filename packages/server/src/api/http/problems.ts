import type { ErrorInfo, Problem } from '@nexus-agent/protocol';
import type { ApiLogger } from '#api/contract';
import { type IdSource, NexusError, redactText, type SecretValues, toProblem } from '#core';

export const problemContentType = 'application/problem+json';

/** Fastify's own errors in our terms. Null: not an error of the client. */
function translate(error: unknown): NexusError | null {
  if (error instanceof NexusError) return error;
  if (!(error instanceof Error) || !('code' in error)) return null;
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_INVALID_CONTENT_TYPE':
      return new NexusError('unsupported_media_type', 'send the body as JSON with content-type: application/json');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new NexusError('invalid_request', 'the body does not have the length that Content-Length states');
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new NexusError('not_found', 'a part of the path is longer than any id or name is');
    case 'FST_ERR_BAD_URL':
      return new NexusError('invalid_request', 'the path is not a valid URL path');
    default:
      return 'statusCode' in error && error.statusCode === 400 ? new NexusError('invalid_request', error.message) : null;
  }
}

/** Never throws. What is not a known error becomes `internal` with an id; its cause goes to the log only. */
export type ProblemMapper = (error: unknown, requestId: string) => { problem: Problem; headers: Record<string, string> };

export function createProblemMapper(deps: { logger: ApiLogger; ids: IdSource; secrets: SecretValues }): ProblemMapper {
  return (error, requestId) => {
    const known = translate(error);
    const info = known === null ? unexpected(error, requestId) : known.toInfo();
    if (known !== null && known.cause !== undefined) deps.logger.warn({ requestId, code: known.code, err: known.cause }, known.message);
    const headers: Record<string, string> = { 'content-type': problemContentType };
    if (known?.retryAfterMs !== undefined) headers['retry-after'] = String(Math.max(1, Math.ceil(known.retryAfterMs / 1000)));
    if (info.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer';
    return {
      problem: deps.secrets.inData(toProblem({ ...info, message: deps.secrets.outward(redactText(info.message)) }, requestId)),
      headers,
    };
  };

  function unexpected(error: unknown, requestId: string): ErrorInfo {
    const errorId = deps.ids.next<string>('error');
    deps.logger.error({ errorId, requestId, err: error }, 'request failed unexpectedly');
    return { code: 'internal', message: `something failed inside; the log has it as ${errorId}`, retryable: false, details: { errorId } };
  }
}
