export interface SseFrame {
  readonly id: string | null;
  readonly event: string;
  readonly data: string;
}

/** Largest frame that is taken: a stream that never ends a frame must not fill the memory. */
const maxFrameChars = 64_000_000;

/**
 * Decodes server-sent events (WHATWG HTML, 9.2.6): all three line ends, several `data:` lines, comments. A frame that
 * the connection cut is dropped. `onBytes` hears of all that arrives, comments included.
 */
export async function* decodeSse(body: ReadableStream<Uint8Array>, onBytes: () => void = () => undefined): AsyncGenerator<SseFrame> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let buffer = '';
  let id: string | null = null;
  let event = '';
  let data: string[] = [];
  let size = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      onBytes();
      buffer += decoder.decode(value, { stream: true });
      let start = 0;
      for (;;) {
        const end = lineEnd(buffer, start);
        if (end === -1) break;
        const line = buffer.slice(start, end);
        start = end + (buffer[end] === '\r' && buffer[end + 1] === '\n' ? 2 : 1);
        if (line === '') {
          if (data.length > 0) yield { id, event: event === '' ? 'message' : event, data: data.join('\n') };
          id = null;
          event = '';
          data = [];
          size = 0;
          continue;
        }
        const colon = line.indexOf(':');
        const name = colon === -1 ? line : line.slice(0, colon);
        const text = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
        if (name === 'id') id = text;
        else if (name === 'event') event = text;
        else if (name === 'data') {
          data.push(text);
          size += text.length;
        }
      }
      buffer = buffer.slice(start);
      if (buffer.length + size > maxFrameChars) throw new Error('an event of the stream is too large');
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Where the line ends; -1 when its end has not arrived. A final CR waits: LF may follow. */
function lineEnd(text: string, start: number): number {
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 10) return index;
    if (code === 13) return index + 1 < text.length ? index : -1;
  }
  return -1;
}
