import type { AssistantPart } from '@nexus-agent/protocol';
import { toTimestamp } from '#core';
import type { StoredEvent } from '#storage';
import { chunksAfter, chunksOf, type LiveChunk, lengthOf } from './live-text.ts';
import { shortChunks } from './long-event.ts';
import type { ReaderPlace, StreamFrame } from './types.ts';

/** A journal event as JSON of the wire; its data is passed on as it was stored. */
export function wireJson(runId: string, event: StoredEvent): string {
  return `{"type":"${event.type}","runId":"${runId}","seq":${event.seq},"at":"${toTimestamp(event.at)}","data":${event.data}}`;
}

export function eventFrame(runId: string, event: StoredEvent): StreamFrame {
  return { id: String(event.seq), event: event.type, data: wireJson(runId, event) };
}

export function deltaFrame(runId: string, seq: number, call: { step: number; callId: string }, chunk: LiveChunk): StreamFrame {
  const data = { step: call.step, callId: call.callId, kind: chunk.kind, offset: chunk.offset, text: chunk.text };
  return {
    id: `${seq}.${chunk.offset + chunk.text.length}`,
    event: 'model.delta',
    data: JSON.stringify({ type: 'model.delta', runId, data }),
  };
}

/** The whole text again, for a reader whose place in it does not exist (the call was repeated, or the text is another). */
export function resetFrame(runId: string, seq: number, call: { step: number; callId: string }, chunks: readonly LiveChunk[]): StreamFrame {
  const offset = lengthOf(chunks);
  const data = { step: call.step, callId: call.callId, parts: chunks.map(({ kind, text }) => ({ kind, text })), offset };
  return { id: `${seq}.${offset}`, event: 'message.reset', data: JSON.stringify({ type: 'message.reset', runId, data }) };
}

/** The text of an answer, as its readers are told it. */
export interface AnswerText {
  readonly call: { readonly step: number; readonly callId: string };
  readonly chunks: readonly LiveChunk[];
}

interface CallData {
  readonly step: number;
  readonly callId: string;
  readonly purpose?: string;
  readonly content?: AssistantPart[];
}

/** Of an event that ends an answer. */
export function textOf(event: StoredEvent | undefined): AnswerText | null {
  if (event === undefined) return null;
  const data = JSON.parse(event.data) as CallData; // stored as model.completed or model.failed
  return { call: { step: data.step, callId: data.callId }, chunks: data.purpose === 'compaction' ? [] : chunksOf(data.content ?? []) };
}

/** What a reader at a place within an answer still has to be told of its text. */
export function* textFrames(runId: string, { seq, offset }: ReaderPlace, text: AnswerText | null): Generator<StreamFrame> {
  if (text === null || text.chunks.length === 0) return;
  const { call, chunks } = text;
  if (offset > lengthOf(chunks)) yield resetFrame(runId, seq, call, chunks);
  else for (const chunk of shortChunks(chunksAfter(chunks, offset))) yield deltaFrame(runId, seq, call, chunk);
}
