import { createHash } from 'node:crypto';
import type { OpenFile } from '#tools/workspace';

const chunkBytes = 128 * 1024;

/** The bytes of an open file, from its beginning. */
export async function* readPieces({ handle }: OpenFile): AsyncGenerator<Uint8Array> {
  for (let position = 0; ; ) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Hash and length of what is read. */
export async function identify(pieces: AsyncIterable<Uint8Array>): Promise<{ readonly sha256: string; readonly bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of pieces) {
    hash.update(piece);
    bytes += piece.byteLength;
  }
  return { sha256: hash.digest('hex'), bytes };
}
