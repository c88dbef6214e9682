import { NexusError } from '#core';
import type { StreamCursor } from '#runs';

/** Reads a `Last-Event-ID`: `<seq>` or `<seq>.<offset>`. */
export function parseCursor(text: string, name: string): StreamCursor {
  const match = /^(\d{1,15})(?:\.(\d{1,15}))?$/.exec(text);
  if (match === null) {
    throw new NexusError(
      'invalid_request',
      `${name} must be an event id of this stream, such as 12 or 12.340, got ${JSON.stringify(text.slice(0, 40))}`,
    );
  }
  return { seq: Number(match[1]), offset: Number(match[2] ?? 0) };
}

export function cursorId(cursor: StreamCursor): string {
  return cursor.offset === 0 ? String(cursor.seq) : `${cursor.seq}.${cursor.offset}`;
}
