export interface RawFrame {
  readonly id: string | null;
  readonly event: string;
  readonly data: string;
}

/** A frame of an event stream in the one form that the server writes; null for a comment. Apart from the client's own decoder on purpose. */
export function parseFrame(text: string): RawFrame | null {
  let id: string | null = null;
  let event = '';
  let data = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('id: ')) id = line.slice(4);
    else if (line.startsWith('event: ')) event = line.slice(7);
    else if (line.startsWith('data: ')) data += line.slice(6);
  }
  return data === '' ? null : { id, event, data };
}

/** The frames of a response as they arrive. One that the connection cut is dropped. Leaving the loop closes the connection. */
export async function* readFrames(body: ReadableStream<Uint8Array>): AsyncGenerator<RawFrame> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    for (let end = rest.indexOf('\n\n'); end !== -1; end = rest.indexOf('\n\n')) {
      const frame = parseFrame(rest.slice(0, end));
      rest = rest.slice(end + 2);
      if (frame !== null) yield frame;
    }
  }
}
