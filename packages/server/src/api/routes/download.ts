import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { RouteAnswer } from '#api/contract';

/** A content that is saved, not shown. */
interface Download {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly read: (signal: AbortSignal) => AsyncGenerator<Uint8Array>;
}

/** @param signal gives what fires when the reader leaves */
export async function download(
  content: Download,
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
  signal: () => AbortSignal,
): Promise<RouteAnswer> {
  if (headers['if-none-match'] === etagOf(content))
    return { stream: async (response) => void response.writeHead(304, headersOf(content)).end() };
  const pieces = content.read(signal());
  // What cannot be read at all is told as an error; later the answer can only break off.
  const first = await pieces.next();
  return { stream: (response) => send(response, content, first, pieces) };
}

async function send(
  response: ServerResponse,
  content: Download,
  first: IteratorResult<Uint8Array>,
  rest: AsyncGenerator<Uint8Array>,
): Promise<void> {
  response.writeHead(200, { ...headersOf(content), 'content-type': 'application/octet-stream', 'content-length': content.bytes });
  async function* all() {
    try {
      if (!first.done) yield first.value;
      yield* rest;
    } finally {
      await rest.return(undefined);
    }
  }
  // A reader that leaves, and content that turns out to be wrong, both end the connection: the answer is then too short.
  await pipeline(Readable.from(all(), { objectMode: false }), response).catch(() => undefined);
}

/** What was written by a model, or by whoever speaks through it, is never shown as a page of this server. */
function headersOf(content: Download) {
  return {
    etag: etagOf(content),
    'content-disposition': disposition(content.name),
    'content-security-policy': "sandbox; default-src 'none'",
    'x-content-type-options': 'nosniff',
    'cache-control': 'private, no-cache',
  };
}

function etagOf({ sha256 }: Download): string {
  return `"${sha256}"`;
}

/** Its own name, once in ASCII and once as it is (RFC 6266). */
function disposition(name: string): string {
  const plain = name.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  const whole = encodeURIComponent(name.toWellFormed()).replace(/['()*]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);
  return `attachment; filename="${plain}"; filename*=UTF-8''${whole}`;
}
