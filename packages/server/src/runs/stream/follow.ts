import { type RunId, type TenantId, terminalEventTypes } from '@nexus-agent/protocol';
import type { Clock, Timers } from '#core';
import type { RunStore, SizedEvent, StoredEvent } from '#storage';
import { readBatch, wantsText } from './batch.ts';
import { createBell } from './bell.ts';
import { textFrames, textOf } from './frames.ts';
import type { StreamHub } from './hub.ts';
import { longEventJson, readPage } from './long-event.ts';
import type { ReaderBatch, ReaderPlace, StreamCursor, StreamFrame } from './types.ts';

export interface FollowOptions {
  readonly engine: {
    readonly store: Pick<RunStore, 'readEvents' | 'readEventsWithin' | 'readEventData' | 'lastSeqOf'>;
    readonly hub: StreamHub;
    readonly clock: Clock;
    readonly timers: Timers;
  };
  readonly tenantId: TenantId;
  readonly runId: RunId;
  readonly cursor: StreamCursor;
  readonly signal: AbortSignal;
  /**
   * How far the log was when the reader came, and whether the run had ended: one that was resumed goes on after its last terminal event.
   * Asked unless this process is writing what lies behind the cursor; what it throws is thrown.
   */
  readonly inLog: () => Promise<LogState>;
}

export interface LogState {
  readonly lastSeq: number;
  readonly ended: boolean;
}

/**
 * Follows the log of a run from a cursor. The only state is the cursor: a reader that does not ask gets nothing and
 * costs at most one bounded batch, and what it missed is read again from the log. Text that was streamed while it looked away is rebuilt
 * from the finished call, so that every reader is given the same text, in other pieces.
 */
export async function* follow(options: FollowOptions): AsyncGenerator<readonly StreamFrame[]> {
  const { engine, tenantId, runId, signal } = options;
  const { store, hub, timers } = engine;
  const { pageEvents, coalesceMs, batchChars } = hub.settings;
  const key = `${tenantId}/${runId}`;
  const { ended, lastSeq: cameAt } = hub.driven(key, options.cursor.seq) ?? (await options.inLog());
  const { channel, release } = hub.follow(key);
  const bell = createBell(engine, channel, signal);
  let place: ReaderPlace = { ...options.cursor, heard: channel.outputs.last };

  /** What is ready in this process; null: it lies in the store. */
  function told(): ReaderBatch | null {
    const events = channel.tailAfter(place.seq);
    if (events === null) return null;
    return channel.shared(place, () => readBatch({ runId, channel, place, events, isFull: false, batchChars }));
  }

  async function stored(): Promise<ReaderBatch> {
    const range = { after: place.seq, limit: pageEvents, maxChars: batchChars };
    const events = await readPage({ store, timers, tenantId, runId, range });
    const isFull = events.length === pageEvents || charsOf(events) >= batchChars;
    return readBatch({ runId, channel, place, events, isFull, batchChars });
  }

  /**
   * Waits until the bell rings, or the log has more than it was heard of. All readers of this process look at the same times, so
   * that one query tells all of them; of a run that is driven here nothing needs to be asked.
   */
  async function news(): Promise<void> {
    while (!signal.aborted) {
      const pollMs = hub.pollMs(channel);
      if (await bell.wait(pollMs - (engine.clock.monotonic() % pollMs))) return;
      if (channel.local) return;
      const last = await store.lastSeqOf(tenantId, runId);
      if (last !== null && last > place.seq) hub.missed(key);
      if (last === null || last > place.seq) return;
    }
  }

  /** The event behind this one, without its data where it has any. */
  function one(after: number) {
    return readPage({ store, timers, tenantId, runId, range: { after, limit: 1, maxChars: batchChars } });
  }

  /** An event that is longer than a batch, read while it is written. Of an answer the text comes first, in pieces. */
  async function* longEvent(event: SizedEvent): AsyncGenerator<readonly StreamFrame[]> {
    if (wantsText(event, place, channel)) {
      const text = await channel.longText(event.seq, async () => {
        const [whole] = await store.readEvents(tenantId, runId, { after: event.seq - 1, limit: 1 });
        return textOf(whole);
      });
      for (const frame of textFrames(runId, place, text)) yield [frame];
    }
    place = { seq: event.seq, offset: 0, heard: place.heard };
    const rest = () => longEventJson({ store, timers, tenantId, runId, event });
    yield [{ id: String(event.seq), event: event.type, data: '', rest }];
  }

  try {
    // Only what it is: it may be as long as anything.
    const at = place.seq === 0 ? undefined : (await one(place.seq - 1))[0];
    let idle = at !== undefined && ended && ends(at);
    while (!signal.aborted) {
      bell.reset();
      const known = told();
      const batch = known ?? (await stored());
      const { frames, more, last, long } = batch;
      place = batch.place;
      if (last !== undefined) idle = ends(last);
      if (frames.length > 0) {
        yield frames;
        bell.rested();
      }
      if (long !== null) yield* longEvent(long);
      if (idle && !more && channel.lastSeq <= place.seq) {
        // The log is the truth: end only when it really has nothing after the last event. One that was written here after the
        // reader came was the last of it then.
        const isLast = known === null ? frames.length === 0 : channel.endWritten === place.seq && cameAt <= place.seq;
        const rest = isLast ? [] : await one(place.seq);
        if (rest.length === 0) return;
        continue;
      }
      if (more) continue;
      // Behind a page of the log, and behind what is heard of but not kept here, there may be more in the store.
      const isAll = frames.length === 0 || (known !== null && channel.lastSeq <= place.seq);
      if (isAll) await news();
      if (!idle) await bell.rest(coalesceMs);
    }
  } finally {
    bell.close();
    release();
  }
}

/** Of events that were read within a number of characters. */
function charsOf(events: readonly StoredEvent[]): number {
  return events.reduce((sum, event) => sum + ('chars' in event ? Number(event.chars) : event.data.length), 0);
}

function ends(event: StoredEvent): boolean {
  return (terminalEventTypes as readonly string[]).includes(event.type);
}
