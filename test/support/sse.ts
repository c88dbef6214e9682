import { createSseDecoder } from '@nexus-agent/protocol';

export interface RawFrame {
  readonly id: string | null;
  readonly event: string;
  readonly data: string;
}

/** Reads frames from bytes as they arrive; gives those that each piece completed. */
export function createFrameReader(): (chunk: Uint8Array) => RawFrame[] {
  let frames: RawFrame[] = [];
  const decoder = createSseDecoder({ maxEventChars: 64_000_000, onEvent: (event, data, id) => frames.push({ id, event, data }) });
  return (chunk) => {
    frames = [];
    decoder.push(chunk);
    return frames;
  };
}

/** The frames of a response as they arrive. One that the connection cut is dropped. Leaving the loop closes the connection. */
export async function* readFrames(body: ReadableStream<Uint8Array>): AsyncGenerator<RawFrame> {
  const read = createFrameReader();
  for await (const chunk of body) yield* read(chunk);
}
