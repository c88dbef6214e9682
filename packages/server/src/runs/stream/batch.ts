import type { SizedEvent, StoredEvent } from '#storage';
import type { Channel } from './channel.ts';
import { deltaFrame, eventFrame, resetFrame, textFrames, textOf } from './frames.ts';
import { chunksAfter } from './live-text.ts';
import { shortChunks } from './long-event.ts';
import type { ReaderBatch, ReaderPlace, StreamFrame } from './types.ts';

type Heard = Pick<Channel, 'live' | 'local' | 'outputs'>;

export interface BatchOptions {
  readonly runId: string;
  readonly channel: Heard;
  readonly place: ReaderPlace;
  /** What lies behind the place: a page of the log, or its end. */
  readonly events: readonly (StoredEvent | SizedEvent)[];
  /** The log may have more than these. */
  readonly isFull: boolean;
  readonly batchChars: number;
}

/** Whether an event ends an answer whose text a reader at this place has not had as it came. */
export function wantsText({ type }: StoredEvent, { seq, offset }: ReaderPlace, { live, local }: Pick<Channel, 'live' | 'local'>): boolean {
  if (type !== 'model.completed' && type !== 'model.failed') return false;
  return !(live !== null && live.seq === seq && local && live.length === offset);
}

/**
 * What a reader at a place is given next: as many of the events as a batch may hold, at least one, then of the text that is being
 * streamed. It depends on nothing else of the reader, so that all who are at one place are given the same.
 */
export function readBatch({ runId, channel, place, events, isFull, batchChars }: BatchOptions): ReaderBatch {
  const frames: StreamFrame[] = [];
  let at = place;
  let taken = 0;
  let chars = 0;
  for (const event of events) {
    if ('chars' in event && event.chars > batchChars) {
      if (taken > 0) break;
      return { frames, place: readOutputs(runId, channel, at, event.seq, frames), more: true, last: event, long: event };
    }
    taken += 1;
    if (event.seq <= at.seq) continue;
    const { heard } = readOutputs(runId, channel, at, event.seq, frames);
    if (wantsText(event, at, channel)) frames.push(...textFrames(runId, at, textOf(event)));
    frames.push(eventFrame(runId, event));
    at = { seq: event.seq, offset: 0, heard };
    chars += event.data.length;
    if (chars >= batchChars) break;
  }
  const last = events[taken - 1];
  if (taken < events.length || isFull) return { frames, place: at, more: true, last, long: null };
  const { offset, more } = readLive(runId, channel, at, batchChars, frames);
  if (offset !== at.offset) at = { ...at, offset };
  if (!more) at = readOutputs(runId, channel, at, Number.POSITIVE_INFINITY, frames);
  return { frames, place: at, more, last, long: null };
}

/** What tools said before event `beforeSeq`. */
function readOutputs(runId: string, { outputs }: Heard, place: ReaderPlace, beforeSeq: number, frames: StreamFrame[]): ReaderPlace {
  let { heard } = place;
  for (const output of outputs.after(heard)) {
    if (output.afterSeq >= beforeSeq) break;
    heard = output.number;
    const data = { step: output.step, callId: output.callId, text: output.text };
    frames.push({ id: null, event: 'tool.output', data: JSON.stringify({ type: 'tool.output', runId, data }) });
  }
  return heard === place.heard ? place : { ...place, heard };
}

/** As much of the text as a batch may hold: where that ends, and whether there is more. */
function readLive(
  runId: string,
  { live, local }: Heard,
  { seq, offset }: ReaderPlace,
  batchChars: number,
  frames: StreamFrame[],
): { readonly offset: number; readonly more: boolean } {
  if (live === null || live.seq !== seq) return { offset, more: false };
  if (offset > live.length) {
    // From another process the text comes piece by piece: what the reader has already may still be on its way here.
    if (!local) return { offset, more: false };
    frames.push(resetFrame(runId, seq, live, live.chunks));
    return { offset: live.length, more: false };
  }
  let chars = 0;
  for (const chunk of shortChunks(chunksAfter(live.chunks, offset))) {
    if (chars >= batchChars) return { offset, more: true };
    frames.push(deltaFrame(runId, seq, live, chunk));
    offset = chunk.offset + chunk.text.length;
    chars += chunk.text.length;
  }
  return { offset, more: false };
}
