import type { RunId, TenantId } from '@nexus-agent/protocol';
import { NexusError, type Timers, toTimestamp } from '#core';
import type { RunStore, SizedEvent } from '#storage';
import type { LiveChunk } from './live-text.ts';

/** Characters of an event that are read, and held for a reader, at a time. */
const pieceChars = 128_000;
/** Of a delta: a reader holds one at a time. */
const deltaChars = 32_000;

export interface EventOfRun {
  readonly store: Pick<RunStore, 'readEventData'>;
  readonly timers: Pick<Timers, 'soon'>;
  readonly tenantId: TenantId;
  readonly runId: RunId;
  readonly event: Omit<SizedEvent, 'data'>;
}

/** An event that is longer than a reader may hold, as JSON of the wire, piece by piece as it is stored. */
export async function* longEventJson({ store, timers, tenantId, runId, event }: EventOfRun): AsyncGenerator<string> {
  const { seq, type, at, chars } = event;
  yield `{"type":"${type}","runId":"${runId}","seq":${seq},"at":"${toTimestamp(at)}","data":`;
  for (let from = 0; from < chars; from += pieceChars) {
    const piece = await inTurn(store, timers, () => store.readEventData(tenantId, runId, { seq, from, chars: pieceChars }));
    if (piece === null) throw new NexusError('not_found', `event ${seq} of run ${runId} is no longer kept`);
    yield piece;
  }
  yield '}';
}

/** The last piece that is read of a store. */
const turns = new WeakMap<object, Promise<unknown>>();

/**
 * One piece at a time, whoever reads: an embedded database answers at once, and walks through the event up to the piece. What else is
 * ready has its turn before the next.
 */
function inTurn<T>(store: object, timers: Pick<Timers, 'soon'>, read: () => Promise<T>): Promise<T> {
  const before = turns.get(store) ?? Promise.resolve();
  const piece = before.then(read);
  const after = piece.then(
    () => timers.soon(),
    () => timers.soon(),
  );
  turns.set(store, after);
  return piece;
}

/** The same text in more chunks, none of them longer than a reader may hold; never within a pair. */
export function* shortChunks(chunks: readonly LiveChunk[]): Generator<LiveChunk> {
  for (const { kind, offset, text } of chunks) {
    for (let from = 0; from < text.length; ) {
      let to = Math.min(text.length, from + deltaChars);
      const last = text.charCodeAt(to - 1);
      if (to < text.length && last >= 0xd800 && last < 0xdc00) to += 1;
      yield { kind, offset: offset + from, text: text.slice(from, to) };
      from = to;
    }
  }
}
