import { TextPieces } from './text-pieces.ts';

/** More data than an event may have: whoever sends it would fill the reader's memory. */
export class SseTooLargeError extends Error {
  readonly maxEventChars: number;

  constructor(maxEventChars: number) {
    super(`an event of the stream has more than ${maxEventChars} characters`);
    this.name = 'SseTooLargeError';
    this.maxEventChars = maxEventChars;
  }
}

export interface SseDecoderOptions {
  /**
   * Called for each event that a blank line ended. `event` is empty for an unnamed one; `data` joins its `data` lines by line
   * feeds; `id` is null when this event has no `id` field of its own (the id before it then still stands).
   */
  readonly onEvent: (event: string, data: string, id: string | null) => void;
  /**
   * Most UTF-16 units that a line, and the data of an event, may have. One more throws {@link SseTooLargeError}: what is held of
   * an unfinished event (its data, name, id and last line) is bounded.
   */
  readonly maxEventChars: number;
  /** Text of bytes that cut no character off, where the platform has something faster than its `TextDecoder`. */
  readonly decodeUtf8?: (bytes: Uint8Array) => string;
}

export interface SseDecoder {
  /** Feeds bytes as they came from the socket. What it or `onEvent` threw ends the decoder: feed it no more. */
  push(chunk: Uint8Array): void;
  /** What is held of an event that no blank line has ended: its data, and a last line that is no comment. */
  unfinished(): string;
}

/**
 * Reads server-sent events as the HTML standard defines them: LF, CR and CRLF end lines, a byte order mark is skipped, comments
 * and other fields (`retry` among them: nobody here is an EventSource) are ignored, an event without data is dropped, and so is
 * one that the end of the stream leaves open. Gives the same events, or the same error after them, however the bytes are cut
 * into chunks, in time linear in their number. Runs in a browser as well as in Node.
 */
export function createSseDecoder({ onEvent, maxEventChars, decodeUtf8 = createTextDecoder() }: SseDecoderOptions): SseDecoder {
  const decode = createUtf8Decoder(decodeUtf8);
  let carry = ''; // the beginning of the unfinished last line; only new text is searched, so a long line costs linear time
  let carried: TextPieces | null = null; // the rest of it, where it came in more pieces than one
  let atStart = true;
  let skipLineFeed = false; // the text so far ends in CR: a LF that follows belongs to it
  let event = '';
  let data: string | null = null;
  let lines: TextPieces | null = null; // all of the data, where it has more lines than one
  let id: string | null = null;

  function dispatch(): void {
    const complete = lines?.text() ?? data;
    const name = event;
    const ownId = id;
    event = '';
    data = null;
    lines = null;
    id = null;
    if (complete !== null) onEvent(name, complete, ownId);
  }

  function addData(value: string): void {
    if (data === null) data = value;
    else {
      lines ??= piecesOf(data, '\n');
      lines.add(value);
    }
    if ((lines ?? data).length > maxEventChars) throw new SseTooLargeError(maxEventChars);
  }

  /** Text of the last line that ends no line. */
  function addToLine(text: string): void {
    if (carry === '') carry = text;
    else {
      carried ??= piecesOf(carry, '');
      carried.add(text);
    }
    if ((carried ?? carry).length > maxEventChars) throw new SseTooLargeError(maxEventChars);
  }

  /** The line from `start` to `end`; the value alone is copied out of the text. */
  function line(text: string, start: number, end: number): void {
    if (end - start > maxEventChars) throw new SseTooLargeError(maxEventChars);
    if (start === end) dispatch();
    else if (text.startsWith('data:', start)) addData(valueIn(text, start + 5, end));
    else if (text.startsWith('event:', start)) event = valueIn(text, start + 6, end);
    else if (text.startsWith('id:', start)) setId(valueIn(text, start + 3, end));
    else bareField(text.slice(start, end));
  }

  /** A line without a colon is a field with an empty value. */
  function bareField(name: string): void {
    if (name === 'data') addData('');
    else if (name === 'event') event = '';
    else if (name === 'id') id = '';
  }

  function setId(value: string): void {
    if (!value.includes('\0')) id = value;
  }

  return {
    push(chunk) {
      let text = decode(chunk);
      if (text === '') return;
      if (atStart) {
        atStart = false;
        if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
      }
      let from = 0;
      if (skipLineFeed && text !== '') {
        skipLineFeed = false;
        if (text.charCodeAt(0) === 10) from = 1;
      }
      let feed = text.indexOf('\n', from);
      let back = text.indexOf('\r', from);
      while (feed !== -1 || back !== -1) {
        const atReturn = back !== -1 && (feed === -1 || back < feed);
        const end = atReturn ? back : feed;
        const start = from;
        from = end + 1;
        if (atReturn) {
          if (feed === from) from += 1;
          else if (from === text.length) skipLineFeed = true;
          back = text.indexOf('\r', from);
        }
        if (feed !== -1 && feed < from) feed = text.indexOf('\n', from);
        if (carry === '') line(text, start, end);
        else {
          const whole = (carried?.text() ?? carry) + text.slice(start, end);
          carry = '';
          carried = null;
          line(whole, 0, whole.length);
        }
      }
      if (from < text.length) addToLine(from === 0 ? text : text.slice(from));
    },
    unfinished: () => (lines?.text() ?? data ?? '') + (carry.startsWith(':') ? '' : (carried?.text() ?? carry)),
  };
}

function piecesOf(first: string, separator: string): TextPieces {
  const pieces = new TextPieces(separator);
  pieces.add(first);
  return pieces;
}

/** The value of a field whose colon stands before `start`; one space after the colon is no part of it. */
function valueIn(text: string, start: number, end: number): string {
  return text.slice(start < end && text.charCodeAt(start) === 32 ? start + 1 : start, end);
}

function createTextDecoder(): (bytes: Uint8Array) => string {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true }); // a mark in the middle is a character like any other
  return (bytes) => decoder.decode(bytes);
}

/**
 * Text of UTF-8 that comes in pieces. A character that a piece cuts off waits for its rest, at most three bytes of it: decoding
 * whole characters is faster than the streaming mode of `TextDecoder`.
 */
function createUtf8Decoder(decodeUtf8: (bytes: Uint8Array) => string): (chunk: Uint8Array) => string {
  let rest: Uint8Array | null = null;
  return (chunk) => {
    const bytes: Uint8Array = rest === null ? chunk : joined(rest, chunk);
    const whole = wholeCharacters(bytes);
    rest = whole === bytes.length ? null : bytes.slice(whole);
    return decodeUtf8(whole === bytes.length ? bytes : bytes.subarray(0, whole));
  };
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** How many of the bytes stand before a last character that may not be whole. */
function wholeCharacters(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return bytes.length; // ASCII
    if (byte < 0xc0) continue; // inside a character
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
