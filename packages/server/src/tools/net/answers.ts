import type { Readable, Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { dictionary } from '@nexus-agent/protocol';
import type { Dispatcher } from 'undici';
import { BytePieces, NexusError } from '#core';

export const redirectStatuses = new Set([301, 302, 303, 307, 308]);
/** These belong to the connection; a caller that sets them could speak to something else than was checked. */
export const reservedHeaders =
  /^(host|connection|content-length|transfer-encoding|upgrade|te|trailer|expect|keep-alive|accept-encoding|proxy-.*)$/;

/** A body as far as it was read. */
export interface BoundedBody {
  readonly bytes: Buffer;
  readonly complete: boolean;
}

/** At most `maxBytes` of the body, decompressed: the limit holds for what comes out, so a small bomb stays small. */
export async function readBounded(response: Dispatcher.ResponseData, maxBytes: number, signal: AbortSignal): Promise<BoundedBody> {
  const pieces = new BytePieces();
  let size = 0;
  let stream: Readable = response.body;
  try {
    stream = decompress(response);
    for await (const chunk of stream) {
      const bytes: Buffer = chunk;
      pieces.add(bytes.subarray(0, maxBytes - size));
      size += bytes.length;
      if (size > maxBytes) return { bytes: pieces.concat(), complete: false };
      if (signal.aborted) throw signal.reason;
    }
    return { bytes: pieces.concat(), complete: true };
  } finally {
    stream.destroy();
    response.body.destroy();
  }
}

const decoders: Readonly<Record<string, () => Transform>> = dictionary({
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
});

function decompress(response: Dispatcher.ResponseData): Readable {
  const encoding = response.headers['content-encoding'];
  if (encoding === undefined || encoding === 'identity' || encoding === '') return response.body;
  const decoder = decoders[String(encoding).toLowerCase()];
  if (decoder === undefined)
    throw new NexusError('tool_failed', `the server answered in the encoding ${String(encoding)}, which is not supported`);
  const decoded = decoder();
  response.body.on('error', (error) => decoded.destroy(error));
  return response.body.pipe(decoded);
}

/** By the charset of a content type. */
export function decodeText(bytes: Buffer, type: string): string {
  const label = /charset="?([\w-]{1,40})/i.exec(type)?.[1] ?? 'utf-8';
  try {
    return new TextDecoder(label).decode(bytes);
  } catch {
    return new TextDecoder().decode(bytes); // a label that nobody knows
  }
}
