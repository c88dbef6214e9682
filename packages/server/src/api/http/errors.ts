import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ApiLogger, ApiMetrics } from '#api/contract';
import { NexusError } from '#core';
import { type ProblemMapper, problemContentType } from './problems.ts';

export interface ErrorReplies {
  send(error: unknown, request: FastifyRequest, reply: FastifyReply): void;
  /** Answers what is not HTTP, where that can be done, and ends the connection. */
  refuseUnreadable(error: NodeJS.ErrnoException, socket: Pick<Socket, 'writable' | 'destroy' | 'end'>): void;
}

/** Codes of requests that were not let in: who tries again and again is seen in the log. */
const refusals: ReadonlySet<string> = new Set(['unauthenticated', 'forbidden', 'origin_not_allowed']);

export function createErrorReplies(problemOf: ProblemMapper, logger: ApiLogger, metrics: Pick<ApiMetrics, 'requestRefused'>): ErrorReplies {
  return {
    send(error, request, reply) {
      const { problem, headers } = problemOf(error, request.id);
      if (refusals.has(problem.code)) {
        metrics.requestRefused(problem.code);
        const { route = 'unmatched' } = request.routeOptions.config;
        const by = request.principal === null ? {} : { by: request.principal.id };
        logger.warn(
          { requestId: request.id, code: problem.code, method: request.method, route, from: request.ip, ...by },
          'a request was refused',
        );
      }
      // Fastify would close the connection, and who still sends would see that instead of the answer. Node lets the rest pass.
      reply.removeHeader('connection');
      // As bytes: to a text Fastify would add a charset, which this media type does not have.
      reply
        .code(problem.status)
        .headers(headers)
        .send(Buffer.from(JSON.stringify(problem)));
    },
    refuseUnreadable(error, socket) {
      if (!socket.writable) return void socket.destroy();
      const { problem } = problemOf(unreadable(error), 'unread');
      const body = JSON.stringify(problem);
      socket.end(
        `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\ncontent-type: ${problemContentType}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      );
    },
  };
}

function unreadable({ code }: NodeJS.ErrnoException): NexusError {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new NexusError('request_timeout', 'the request took longer to arrive than limits.requestTimeoutMs allows');
    case 'HPE_HEADER_OVERFLOW':
      return new NexusError('invalid_request', 'the request headers are too large');
    default:
      return new NexusError('invalid_request', 'the request is not valid HTTP');
  }
}
