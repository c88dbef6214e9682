import type { AssistantPart } from '@nexus-agent/protocol';

export type TextKind = 'text' | 'reasoning';

/** A piece of a model call's text; `offset` counts UTF-16 units over all pieces before it. */
export interface LiveChunk {
  readonly kind: TextKind;
  readonly offset: number;
  readonly text: string;
}

/** Text and reasoning of an answer in order of arrival: the same sequence that was streamed as deltas. */
export function chunksOf(content: readonly AssistantPart[]): LiveChunk[] {
  const chunks: LiveChunk[] = [];
  let offset = 0;
  for (const part of content) {
    if (part.type === 'tool_call' || part.text === '') continue;
    chunks.push({ kind: part.type, offset, text: part.text });
    offset += part.text.length;
  }
  return chunks;
}

export function lengthOf(chunks: readonly LiveChunk[]): number {
  const last = chunks.at(-1);
  return last === undefined ? 0 : last.offset + last.text.length;
}

/** What comes after `offset`; the piece that it falls into is cut. Only the end of the list is looked at. */
export function chunksAfter(chunks: readonly LiveChunk[], offset: number): LiveChunk[] {
  let first = chunks.length;
  while (first > 0) {
    const chunk = chunks[first - 1];
    if (chunk === undefined || chunk.offset + chunk.text.length <= offset) break;
    first -= 1;
  }
  const rest = chunks.slice(first);
  const head = rest[0];
  if (head !== undefined && head.offset < offset) rest[0] = { kind: head.kind, offset, text: head.text.slice(offset - head.offset) };
  return rest;
}

/** The text of one model call while it arrives, named by the `seq` of its `model.started`. */
export interface LiveText {
  readonly seq: number;
  readonly step: number;
  readonly callId: string;
  readonly chunks: LiveChunk[];
  length: number;
}

/** Appends a piece; pieces that are already there are ignored. Answers false when something before it is missing. */
export function appendChunk(live: LiveText, chunk: LiveChunk): boolean {
  if (chunk.offset > live.length) return false;
  const fresh = chunk.text.slice(live.length - chunk.offset);
  if (fresh === '') return true;
  live.chunks.push({ kind: chunk.kind, offset: live.length, text: fresh });
  live.length += fresh.length;
  return true;
}
