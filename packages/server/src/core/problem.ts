import { type ErrorInfo, errorTable, type Problem } from '@nexus-agent/protocol';

/** An error value as the RFC 9457 body that clients are shown. `instance` names this occurrence, such as the request's id. */
export function toProblem(info: ErrorInfo, instance?: string): Problem {
  const entry = errorTable[info.code];
  return {
    type: `urn:nexus-agent:error:${info.code}`,
    title: entry.title,
    status: entry.httpStatus,
    detail: info.message,
    code: info.code,
    ...(instance === undefined ? {} : { instance }),
    retryable: info.retryable ?? entry.retryable,
    ...(info.details === undefined ? {} : { details: info.details }),
  };
}
