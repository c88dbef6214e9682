import type { StreamFrame } from '#runs';

/** One event of a stream, of whatever kind. */
export type SentFrame = Omit<StreamFrame, 'event'> & { readonly event: string };

/** Characters of one write: what a socket does not take of it is held. */
const writeChars = 32_000;

/** A part of a batch as it is written; `lastId` is where the stream can be resumed after it. */
export type Part =
  | { readonly type: 'frames'; readonly pieces: readonly (string | Buffer)[]; readonly lastId: string | null }
  | { readonly type: 'long'; readonly head: string; readonly rest: () => AsyncIterable<string>; readonly lastId: string | null };

export interface Encoder {
  encode(frames: readonly SentFrame[]): readonly Part[];
}

/**
 * Frames as server-sent events. The readers of one run are given the same batch one after the other: what was encoded last is kept, and
 * from the second reader on it is bytes, which every socket that is full holds together.
 */
export function createEncoder(): Encoder {
  let known: readonly SentFrame[] | null = null;
  let parts: readonly Part[] = [];
  let isShared = false;
  return {
    encode(frames) {
      if (frames !== known) {
        known = frames;
        parts = encodedParts(frames);
        isShared = false;
      } else if (!isShared) {
        parts = parts.map((part) => (part.type === 'long' ? part : { ...part, pieces: part.pieces.map((piece) => Buffer.from(piece)) }));
        isShared = true;
      }
      return parts;
    },
  };
}

function encodedParts(frames: readonly SentFrame[]): Part[] {
  const parts: Part[] = [];
  let text = '';
  let lastId: string | null = null;
  const endText = () => {
    if (text !== '') parts.push({ type: 'frames', pieces: writesOf(text), lastId });
    text = '';
  };
  for (const { id, event, data, rest } of frames) {
    const head = id === null ? `event: ${event}\ndata: ${data}` : `id: ${id}\nevent: ${event}\ndata: ${data}`;
    if (rest !== undefined) endText();
    lastId = id ?? lastId;
    if (rest === undefined) text += `${head}\n\n`;
    else parts.push({ type: 'long', head, rest, lastId });
  }
  endText();
  return parts;
}

/** The same text in pieces that are written one at a time. Half of a pair has no bytes of its own, so that none is cut. */
export function writesOf(text: string): string[] {
  const pieces: string[] = [];
  for (let from = 0; from < text.length; ) {
    let to = Math.min(text.length, from + writeChars);
    const last = text.charCodeAt(to - 1);
    if (to < text.length && last >= 0xd800 && last < 0xdc00) to += 1;
    pieces.push(text.slice(from, to));
    from = to;
  }
  return pieces;
}
