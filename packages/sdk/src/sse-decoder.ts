import { createSseDecoder } from '@nexus-agent/protocol';

export interface SseFrame {
  /** Null: the event has no id of its own. */
  readonly id: string | null;
  readonly event: string;
  readonly data: string;
}

/** Largest line, and largest data of one event, that is taken: a stream that never ends an event must not fill the memory. */
const maxEventChars = 64_000_000;

/**
 * The events of a response, as they arrive; see {@link createSseDecoder}. `onBytes` hears of all that arrives, comments
 * included. Leaving the iteration closes the connection.
 */
export async function* decodeSse(body: ReadableStream<Uint8Array>, onBytes: () => void = () => undefined): AsyncGenerator<SseFrame> {
  const reader = body.getReader();
  let frames: SseFrame[] = [];
  const decoder = createSseDecoder({
    maxEventChars,
    onEvent: (event, data, id) => frames.push({ id, event: event === '' ? 'message' : event, data }),
  });
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      onBytes();
      decoder.push(value);
      if (frames.length === 0) continue;
      const complete = frames;
      frames = [];
      for (const frame of complete) yield frame;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
