import type { RunId, TenantId } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
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
export async function* longEventJson(of: EventOfRun): AsyncGenerator<string> {
  const { seq, type, at } = of.event;
  yield `{"type":"${type}","runId":"${of.runId}","seq":${seq},"at":"${toTimestamp(at)}","data":`;
  for (let from = 0; ; from += pieceChars) {
    const piece = await readPiece(of, from);
    if (piece === null) throw new NexusError('not_found', `event ${seq} of run ${of.runId} is no longer kept`);
    if (piece === '') break;
    yield piece;
    if (piece.length < pieceChars) break;
  }
  yield '}';
}

/** Readers of one event are often about as far as each other: pieces that some of them have just read are kept. */
const keptPieces = 16;

interface Reading {
  /** The last piece that is read. */
  last: Promise<unknown>;
  readonly pieces: LRUCache<string, string>;
}

const readings = new WeakMap<object, Reading>();

/**
 * One piece at a time, whoever reads: an embedded database answers at once, and walks through the event up to the piece. What else is
 * ready has its turn before the next.
 */
function readPiece({ store, timers, tenantId, runId, event: { seq } }: EventOfRun, from: number): Promise<string | null> {
  let reading = readings.get(store);
  if (reading === undefined) {
    reading = { last: Promise.resolve(), pieces: new LRUCache({ max: keptPieces }) };
    readings.set(store, reading);
  }
  const { last, pieces } = reading;
  const key = `${tenantId}/${runId}/${seq}/${from}`;
  const piece = last.then(async () => {
    const kept = pieces.get(key);
    if (kept !== undefined) return kept;
    const read = await store.readEventData(tenantId, runId, { seq, from, chars: pieceChars });
    if (read !== null) pieces.set(key, read);
    return read;
  });
  reading.last = piece.then(
    () => timers.soon(),
    () => timers.soon(),
  );
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
