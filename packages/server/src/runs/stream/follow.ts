import { type AssistantPart, type RunId, type TenantId, terminalEventTypes } from '@nexus-agent/protocol';
import { type Clock, type Timers, toTimestamp } from '#core';
import type { RunStore, SizedEvent, StoredEvent } from '#storage';
import type { Channel } from './channel.ts';
import type { StreamHub } from './hub.ts';
import { chunksAfter, chunksOf, type LiveChunk, type LiveText, lengthOf } from './live-text.ts';
import { longEventJson, readPage, shortChunks } from './long-event.ts';
import type { StreamCursor, StreamFrame } from './types.ts';

/** A journal event as JSON of the wire; its data is passed on as it was stored. */
export function wireJson(runId: string, event: StoredEvent): string {
  return `{"type":"${event.type}","runId":"${runId}","seq":${event.seq},"at":"${toTimestamp(event.at)}","data":${event.data}}`;
}

function eventFrame(runId: string, event: StoredEvent): StreamFrame {
  return { id: String(event.seq), event: event.type, data: wireJson(runId, event) };
}

function deltaFrame(runId: string, seq: number, call: { step: number; callId: string }, chunk: LiveChunk): StreamFrame {
  const data = { step: call.step, callId: call.callId, kind: chunk.kind, offset: chunk.offset, text: chunk.text };
  return {
    id: `${seq}.${chunk.offset + chunk.text.length}`,
    event: 'model.delta',
    data: JSON.stringify({ type: 'model.delta', runId, data }),
  };
}

/** The whole text again, for a reader whose place in it does not exist (the call was repeated, or the text is another). */
function resetFrame(runId: string, seq: number, call: { step: number; callId: string }, chunks: readonly LiveChunk[]): StreamFrame {
  const offset = lengthOf(chunks);
  const data = { step: call.step, callId: call.callId, parts: chunks.map(({ kind, text }) => ({ kind, text })), offset };
  return { id: `${seq}.${offset}`, event: 'message.reset', data: JSON.stringify({ type: 'message.reset', runId, data }) };
}

export interface FollowOptions {
  readonly engine: {
    readonly store: Pick<RunStore, 'readEvents' | 'readEventsWithin' | 'readEventData'>;
    readonly hub: StreamHub;
    readonly clock: Clock;
    readonly timers: Timers;
  };
  readonly tenantId: TenantId;
  readonly runId: RunId;
  readonly cursor: StreamCursor;
  readonly signal: AbortSignal;
  /** The run had ended when the reader came: one that was resumed goes on after its last terminal event. */
  readonly ended: boolean;
}

/**
 * Follows the log of a run from a cursor. The only state is the cursor: a reader that does not ask gets nothing and
 * costs at most one bounded batch, and what it missed is read again from the log. Text that was streamed while it looked away is rebuilt
 * from the finished call, so that every reader is given the same text, in other pieces.
 */
export async function* follow(options: FollowOptions): AsyncGenerator<readonly StreamFrame[]> {
  const { engine, tenantId, runId, signal } = options;
  const { store, hub } = engine;
  const { pageEvents, coalesceMs, batchChars } = hub.settings;
  const { channel, release } = hub.follow(`${tenantId}/${runId}`);
  const reader = createReader(runId, options.cursor, channel.outputs, hub.settings.batchChars);
  const bell = createBell(engine, channel, signal);

  /** What is ready now. `more`: the log has more than that. */
  async function nextBatch() {
    const tail = channel.tailAfter(reader.seq);
    const page = { after: reader.seq, limit: pageEvents, maxChars: batchChars };
    const events = tail ?? (await readPage({ store, timers: engine.timers, tenantId, runId, range: page }));
    const { frames, taken, long } = reader.read(events, channel);
    const isFull = tail === null && (events.length === pageEvents || charsOf(events) >= batchChars);
    let more = taken < events.length || isFull;
    if (!more && long === null) {
      more = reader.readLive(channel, frames);
      if (!more) reader.readOutputs(Number.POSITIVE_INFINITY, frames);
    }
    return { frames, more: more || long !== null, last: long ?? events[taken - 1], long, current: tail === null && frames.length === 0 };
  }

  /** The event behind this one, without its data where it has any. */
  function one(after: number) {
    return readPage({ store, timers: engine.timers, tenantId, runId, range: { after, limit: 1, maxChars: hub.settings.batchChars } });
  }

  /** An event that is longer than a batch, read while it is written. Of an answer the text comes first, in pieces. */
  async function* longEvent(event: SizedEvent): AsyncGenerator<readonly StreamFrame[]> {
    if (reader.wantsText(event, channel)) {
      const call = await channel.longText(event.seq, async () => {
        const [whole] = await store.readEvents(tenantId, runId, { after: event.seq - 1, limit: 1 });
        return textOf(whole);
      });
      for (const frame of reader.textFrames(call)) yield [frame];
    }
    reader.passed(event);
    const rest = () => longEventJson({ store, timers: engine.timers, tenantId, runId, event });
    yield [{ id: String(event.seq), event: event.type, data: '', rest }];
  }

  try {
    // Only what it is: it may be as long as anything.
    const at = reader.seq === 0 ? undefined : (await one(reader.seq - 1))[0];
    let idle = at !== undefined && options.ended && ends(at);
    while (!signal.aborted) {
      bell.reset();
      const { frames, more, last, long, current } = await nextBatch();
      if (last !== undefined) idle = ends(last);
      if (frames.length > 0) {
        yield frames;
        bell.rested(channel.live);
      }
      if (long !== null) yield* longEvent(long);
      if (idle && !more && channel.lastSeq <= reader.seq) {
        // The log is the truth: end only when it really has nothing after the last event.
        const rest = current ? [] : await one(reader.seq);
        if (rest.length === 0) return;
        continue;
      }
      if (frames.length === 0 && !more) await bell.wait(hub.pollMs(channel));
      if (!idle && !more) await bell.rest(coalesceMs);
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

function textOf(event: StoredEvent | undefined): AnswerText | null {
  if (event === undefined) return null;
  const data = JSON.parse(event.data) as CallData; // stored as model.completed or model.failed
  return { call: { step: data.step, callId: data.callId }, chunks: data.purpose === 'compaction' ? [] : chunksOf(data.content ?? []) };
}

interface CallData {
  readonly step: number;
  readonly callId: string;
  readonly purpose?: string;
  readonly content?: AssistantPart[];
}

/** The text of an answer, as its readers are told it. */
export interface AnswerText {
  readonly call: { readonly step: number; readonly callId: string };
  readonly chunks: readonly LiveChunk[];
}

function ends(event: StoredEvent): boolean {
  return (terminalEventTypes as readonly string[]).includes(event.type);
}

/** Turns events and live text into frames and keeps the place. */
function createReader(runId: string, start: StreamCursor, outputs: Channel['outputs'], batchChars: number) {
  let { seq, offset } = start;
  let heard = outputs.last;

  /** What tools said before event `beforeSeq`. */
  function readOutputs(beforeSeq: number, frames: StreamFrame[]): void {
    for (const output of outputs.after(heard)) {
      if (output.afterSeq >= beforeSeq) return;
      heard = output.number;
      const data = { step: output.step, callId: output.callId, text: output.text };
      frames.push({ id: null, event: 'tool.output', data: JSON.stringify({ type: 'tool.output', runId, data }) });
    }
  }

  function completed(event: StoredEvent, channel: Channel, frames: StreamFrame[]): void {
    if (wantsText(event, channel)) frames.push(...textFrames(textOf(event)));
  }

  /** Whether an event ends an answer whose text the reader has not had as it came. */
  function wantsText({ type }: StoredEvent, { live, local }: Pick<Channel, 'live' | 'local'>): boolean {
    if (type !== 'model.completed' && type !== 'model.failed') return false;
    return !(live !== null && live.seq === seq && local && live.length === offset);
  }

  function* textFrames(text: AnswerText | null): Generator<StreamFrame> {
    if (text === null || text.chunks.length === 0) return;
    const { call, chunks } = text;
    if (offset > lengthOf(chunks)) yield resetFrame(runId, seq, call, chunks);
    else for (const chunk of shortChunks(chunksAfter(chunks, offset))) yield deltaFrame(runId, seq, call, chunk);
  }

  return {
    get seq() {
      return seq;
    },
    wantsText,
    textFrames,
    /** An event was told to its end. */
    passed(event: StoredEvent): void {
      seq = event.seq;
      offset = 0;
    },
    /** Takes as many of the events as a batch may hold, at least one; `long`: the next is longer than that, and comes without its data. */
    read(
      events: readonly (StoredEvent | SizedEvent)[],
      channel: Channel,
    ): { readonly frames: StreamFrame[]; readonly taken: number; readonly long: SizedEvent | null } {
      const frames: StreamFrame[] = [];
      let taken = 0;
      let chars = 0;
      for (const event of events) {
        if ('chars' in event && event.chars > batchChars) {
          if (taken > 0) break;
          readOutputs(event.seq, frames);
          return { frames, taken: 1, long: event };
        }
        taken += 1;
        if (event.seq <= seq) continue;
        readOutputs(event.seq, frames);
        completed(event, channel, frames);
        frames.push(eventFrame(runId, event));
        seq = event.seq;
        offset = 0;
        chars += event.data.length;
        if (chars >= batchChars) break;
      }
      return { frames, taken, long: null };
    },
    readOutputs,
    /** Takes as much of the text as a batch may hold; whether there is more. */
    readLive({ live, local }: Pick<Channel, 'live' | 'local'>, frames: StreamFrame[]): boolean {
      if (live === null || live.seq !== seq) return false;
      // From another process the text comes piece by piece: what the reader has already may still be on its way here.
      if (offset > live.length && !local) return false;
      if (offset > live.length) {
        frames.push(resetFrame(runId, seq, live, live.chunks));
        offset = live.length;
        return false;
      }
      let chars = 0;
      for (const chunk of shortChunks(chunksAfter(live.chunks, offset))) {
        if (chars >= batchChars) return true;
        frames.push(deltaFrame(runId, seq, live, chunk));
        offset = chunk.offset + chunk.text.length;
        chars += chunk.text.length;
      }
      return false;
    },
  };
}

/**
 * Waits for the next change of a channel; a change between `reset` and `wait` is not missed. `rest` leaves a little
 * time between two batches, so that a reader of a busy run costs few writes; the first text of an answer ends it at once.
 */
function createBell({ clock, timers }: Pick<FollowOptions['engine'], 'clock' | 'timers'>, channel: Channel, signal: AbortSignal) {
  let rung = false;
  let wake: (() => void) | null = null;
  let restedAt = Number.NEGATIVE_INFINITY;
  let knownText = 0;
  const firstText = () => channel.live !== null && channel.live.seq > knownText && channel.live.length > 0;
  const ring = () => {
    rung = true;
    wake?.();
  };
  const stop = channel.listen(ring);
  signal.addEventListener('abort', ring);
  return {
    reset() {
      rung = false;
    },
    /** A batch was just handed on; `live` is what of the answer it held. */
    rested(live: LiveText | null) {
      restedAt = clock.monotonic();
      if (live !== null && live.length > 0) knownText = live.seq;
    },
    async rest(ms: number): Promise<void> {
      for (let leftMs = restedAt + ms - clock.monotonic(); leftMs > 0 && !firstText() && !signal.aborted; ) {
        rung = false;
        await this.wait(leftMs);
        leftMs = restedAt + ms - clock.monotonic();
      }
    },
    wait(maxMs: number): Promise<void> {
      if (rung) return Promise.resolve();
      return new Promise((resolve) => {
        const done = () => {
          cancel();
          wake = null;
          resolve();
        };
        const cancel = timers.after(maxMs, done);
        wake = done;
      });
    },
    close() {
      stop();
      signal.removeEventListener('abort', ring);
    },
  };
}
