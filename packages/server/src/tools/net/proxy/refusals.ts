import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { NexusError } from '#core';
import type { EgressRecord } from './types.ts';

/** In place of an answer. */
export function answerRefused(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  response.shouldKeepAlive = false;
  response.writeHead(proxyStatus(error), { 'content-type': 'text/plain; charset=utf-8', 'x-nexus-proxy': 'refused' });
  response.end(`${proxyMessage(error)}\n`);
}

/** The same on a connection that is nobody's request yet, or a tunnel. */
export function answerRaw(socket: Duplex, status: number, message: string): void {
  if (socket.destroyed || !socket.writable) return void socket.destroy();
  const body = Buffer.from(`${message}\n`);
  socket.end(
    Buffer.concat([
      Buffer.from(
        `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`,
      ),
      body,
    ]),
    () => socket.destroy(),
  );
}

export function answerError(socket: Duplex, error: unknown): void {
  answerRaw(socket, proxyStatus(error), proxyMessage(error));
}

const refusedCodes = new Set(['policy_denied', 'address_not_allowed', 'invalid_request', 'tool_input_invalid']);

export function outcomeOf(error: unknown): EgressRecord['outcome'] {
  if (!(error instanceof NexusError)) return 'failed';
  if (error.code === 'limit_exceeded') return 'limit';
  return refusedCodes.has(error.code) ? 'refused' : 'failed';
}

function proxyStatus(error: unknown): number {
  if (!(error instanceof NexusError)) return 502;
  switch (error.code) {
    case 'policy_denied':
    case 'address_not_allowed':
      return 403;
    case 'invalid_request':
    case 'tool_input_invalid':
      return 400;
    case 'limit_exceeded':
      return 413;
    default:
      return 502;
  }
}

function proxyMessage(error: unknown): string {
  if (error instanceof NexusError) return error.message;
  const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
  return `the host could not be reached, or broke off${code}`;
}
