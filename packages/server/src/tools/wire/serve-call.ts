import type { ServerWritableStream } from '@grpc/grpc-js';
import { NexusError, type Timers } from '#core';
import type { ToolCall, ToolPart, ToolService } from '#tools/contract';
import { loadDefinition } from './definition.ts';
import { partToWire } from './messages.ts';
import { statusOf } from './status.ts';

export type ExecuteStream = ServerWritableStream<unknown, object>;

export interface ServingOptions {
  readonly service: ToolService;
  readonly timers: Timers;
  readonly maxMessageBytes: number;
  /** How long a reader may take nothing before its call is cancelled. */
  readonly unreadMs: number;
  /** Hears of a stream whose reader takes nothing. */
  readonly onUnread: (stream: ExecuteStream) => void;
}

/** Progress goes in pieces of this size, so that what waits for a reader is small. */
const pieceChars = 16_384;

/**
 * Runs one call for one stream and resolves when both have ended. A part is asked for once the one before it is on its way, so a
 * slow reader holds back its own call and no more than one part of it waits here.
 */
export async function serveCall(
  stream: ExecuteStream,
  call: ToolCall,
  controller: AbortController,
  options: ServingOptions,
): Promise<void> {
  // Nobody said that it should stop: another process may come back to a call that goes on elsewhere.
  const gone = () => controller.abort(new NexusError('lease_lost', 'whoever made the call is gone'));
  stream.on('cancelled', gone);
  if (stream.cancelled) gone();
  try {
    for await (const part of options.service.execute(call, { signal: controller.signal }))
      for (const message of messagesOf(part, options.maxMessageBytes)) if (!(await write(stream, message, options))) return;
    stream.end();
  } catch (error) {
    stream.emit('error', statusOf(error));
  } finally {
    stream.off('cancelled', gone);
  }
}

/** False when nobody takes it: then the call has no reader any more. */
function write(stream: ExecuteStream, message: object, { timers, unreadMs, onUnread }: ServingOptions): Promise<boolean> {
  return new Promise((resolve) => {
    if (stream.cancelled) return resolve(false);
    const settle = (taken: boolean) => {
      cancelTimer();
      stream.off('cancelled', leave);
      resolve(taken);
    };
    const leave = () => settle(false);
    const cancelTimer = timers.after(unreadMs, () => {
      settle(false);
      onUnread(stream);
    });
    stream.on('cancelled', leave);
    stream.write(message, (error: Error | null | undefined) => settle(error === null || error === undefined));
  });
}

function messagesOf(part: ToolPart, maxBytes: number): object[] {
  if (part.type === 'output') return piecesOf(part.text).map((text) => partToWire({ type: 'output', text }));
  const message = partToWire(part);
  if (part.type === 'authorization.wanted') return [message];
  const { length } = loadDefinition().service.Execute.responseSerialize(message);
  if (length <= maxBytes) return [message];
  const tooLarge = `what the call gave has ${length} bytes on the wire, and may have ${maxBytes} (maxMessageBytes)`;
  const error = new NexusError('limit_exceeded', tooLarge, { details: { limit: 'output' } }).toInfo();
  const { durationMs } = part;
  return [partToWire({ type: 'failed', error, began: part.type !== 'failed' || part.began, durationMs })];
}

/** Never between the halves of a pair. */
function piecesOf(text: string): string[] {
  const pieces: string[] = [];
  for (let from = 0; from < text.length; ) {
    let to = Math.min(text.length, from + pieceChars);
    const last = text.charCodeAt(to - 1);
    if (to < text.length && last >= 0xd800 && last <= 0xdbff) to -= 1;
    pieces.push(text.slice(from, to));
    from = to;
  }
  return pieces;
}
