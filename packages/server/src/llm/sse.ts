import { StringDecoder } from 'node:string_decoder';
import { NexusError } from '#core';

export interface SseDecoder {
  /** Feeds bytes as they came from the socket; calls `onEvent` for each event that a blank line ended. */
  push(chunk: Buffer): void;
}

export interface SseDecoderOptions {
  /** `event` is empty for an unnamed event; `data` joins its `data:` lines by line feeds. */
  readonly onEvent: (event: string, data: string) => void;
  /** A longer line, or longer data of one event, throws `provider_malformed`: memory per stream stays bounded. */
  readonly maxEventChars?: number;
}

/**
 * Server-sent events as the HTML standard defines them: LF, CR and CRLF end lines, a byte order mark is skipped,
 * comments and unknown fields are ignored, an event without data is dropped, and so is one that the end of the stream
 * leaves open. Gives the same events however the bytes are cut into chunks.
 */
export function createSseDecoder({ onEvent, maxEventChars = 4_000_000 }: SseDecoderOptions): SseDecoder {
  const utf8 = new StringDecoder('utf8');
  let carry = ''; // the unfinished last line; only new text is searched, so a long line costs linear time
  let atStart = true;
  let skipLineFeed = false; // the previous chunk ended in CR: a LF that follows belongs to it
  let event = '';
  let data: string | null = null;

  const tooLong = () => new NexusError('provider_malformed', `the provider sent an event of more than ${maxEventChars} characters`);

  function line(text: string): void {
    if (text === '') {
      if (data !== null) {
        const complete = data;
        const name = event;
        data = null;
        event = '';
        onEvent(name, complete);
      } else {
        event = '';
      }
      return;
    }
    if (text.startsWith('data:')) {
      const value = text.charCodeAt(5) === 32 ? text.slice(6) : text.slice(5);
      data = data === null ? value : `${data}\n${value}`;
      if (data.length > maxEventChars) throw tooLong();
    } else if (text.startsWith('event:')) {
      event = text.charCodeAt(6) === 32 ? text.slice(7) : text.slice(6);
    } else if (text === 'data') {
      data = data === null ? '' : `${data}\n`;
    } else if (text === 'event') {
      event = '';
    }
  }

  return {
    push(chunk) {
      let text = utf8.write(chunk);
      if (text === '') return;
      if (atStart) {
        atStart = false;
        if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
      }
      let from = 0;
      if (skipLineFeed && text.length > 0) {
        skipLineFeed = false;
        if (text.charCodeAt(0) === 10) from = 1;
      }
      let lineFeed = text.indexOf('\n', from);
      let carriageReturn = text.indexOf('\r', from);
      while (lineFeed !== -1 || carriageReturn !== -1) {
        const useReturn = carriageReturn !== -1 && (lineFeed === -1 || carriageReturn < lineFeed);
        const end = useReturn ? carriageReturn : lineFeed;
        const part = text.slice(from, end);
        const whole = carry === '' ? part : carry + part;
        carry = '';
        from = end + 1;
        if (useReturn) {
          if (lineFeed === from) from += 1;
          else if (from === text.length) skipLineFeed = true;
          carriageReturn = text.indexOf('\r', from);
        }
        if (lineFeed !== -1 && lineFeed < from) lineFeed = text.indexOf('\n', from);
        line(whole);
      }
      if (from < text.length) {
        carry += from === 0 ? text : text.slice(from);
        if (carry.length > maxEventChars) throw tooLong();
      }
    },
  };
}
