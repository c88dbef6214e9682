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
/** Runs of which it is remembered that they have long events. */
const keptRuns = 1_000;

interface Reading {
  /** The last that is read in turn. */
  last: Promise<unknown>;
  readonly pieces: LRUCache<string, string>;
  readonly longRuns: LRUCache<string, true>;
}

const readings = new WeakMap<object, Reading>();

function readingOf(store: object): Reading {
  let reading = readings.get(store);
  if (reading === undefined) {
    reading = { last: Promise.resolve(), pieces: new LRUCache({ max: keptPieces }), longRuns: new LRUCache({ max: keptRuns }) };
    readings.set(store, reading);
  }
  return reading;
}

/** One at a time, whoever reads: an embedded database answers at once, and walks through the event. Others have their turn before the next. */
function inTurn<Result>(reading: Reading, timers: EventOfRun['timers'], read: () => Promise<Result>): Promise<Result> {
  const done = reading.last.then(read);
  reading.last = done.then(
    () => timers.soon(),
    () => timers.soon(),
  );
  return done;
}

function readPiece({ store, timers, tenantId, runId, event: { seq } }: EventOfRun, from: number): Promise<string | null> {
  const reading = readingOf(store);
  const { pieces } = reading;
  const key = `${tenantId}/${runId}/${seq}/${from}`;
  return inTurn(reading, timers, async () => {
    const kept = pieces.get(key);
    if (kept !== undefined) return kept;
    const read = await store.readEventData(tenantId, runId, { seq, from, chars: pieceChars });
    if (read !== null) pieces.set(key, read);
    return read;
  });
}

export interface PageOfRun {
  readonly store: Pick<RunStore, 'readEventsWithin'>;
  readonly timers: Pick<Timers, 'soon'>;
  readonly tenantId: TenantId;
  readonly runId: RunId;
  readonly range: { readonly after: number; readonly limit: number; readonly maxChars: number };
}

/** `readEventsWithin`; of a run that has long events in turn, since a database walks through them for each page beside them. */
export async function readPage({ store, timers, tenantId, runId, range }: PageOfRun): Promise<readonly SizedEvent[]> {
  const reading = readingOf(store);
  const key = `${tenantId}/${runId}`;
  const read = () => store.readEventsWithin(tenantId, runId, range);
  if (reading.longRuns.has(key)) return inTurn(reading, timers, read);
  const page = await read();
  if (page.some(({ chars }) => chars > range.maxChars)) reading.longRuns.set(key, true);
  return page;
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
