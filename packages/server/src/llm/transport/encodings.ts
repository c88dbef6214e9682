import type { Transform } from 'node:stream';
import { constants, createBrotliDecompress, createGunzip, createInflate, createInflateRaw, createZstdDecompress } from 'node:zlib';

/** Names that stand for no compression, the wrong ones among them that servers put there. */
const plainNames: ReadonlySet<string> = new Set(['', 'identity', 'none', 'chunked', 'utf-8', 'utf8']);
const maxLayers = 2;
const compressions: ReadonlySet<string> = new Set(['gzip', 'x-gzip', 'deflate', 'br', 'zstd']);

/** The compressions of a `content-encoding`, the outermost first; null when they cannot be undone. */
export function readEncodings(header: string): readonly string[] | null {
  const names = header
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => !plainNames.has(name));
  return names.length <= maxLayers && names.every((name) => compressions.has(name)) ? names.reverse() : null;
}

export interface BodyPipeOptions {
  readonly encodings: readonly string[];
  readonly data: (chunk: Buffer) => void;
  readonly end: () => void;
  readonly error: (cause: Error) => void;
  /** Whether the source should wait, so that little is held here. */
  readonly congested: (wait: boolean) => void;
}

/** What stands between a socket and the reader of a body: it undoes the compression, if there is any. */
export interface BodyPipe {
  push(chunk: Buffer): void;
  end(): void;
  pause(): void;
  resume(): void;
  /** Nothing is called after it. */
  destroy(): void;
}

export function createBodyPipe(options: BodyPipeOptions): BodyPipe {
  const { encodings, data, end, error, congested } = options;
  if (encodings.length === 0) {
    const nothing = () => undefined;
    return { push: data, end, pause: nothing, resume: nothing, destroy: nothing };
  }
  let layers: Transform[] = [];
  let paused = false;

  function open(firstByte: number): void {
    layers = encodings.map((encoding, index) => createDecompressor(encoding, index === 0 ? firstByte : zlibMark));
    for (const [index, layer] of layers.entries()) {
      layer.on('error', error);
      const next = layers[index + 1];
      if (next === undefined) layer.on('data', data).on('end', end);
      else layer.pipe(next);
    }
    layers[0]?.on('drain', () => congested(false));
    if (paused) layers.at(-1)?.pause();
  }

  return {
    push(chunk) {
      if (layers.length === 0 && chunk.length > 0) open(chunk[0] ?? 0);
      if (layers[0]?.write(chunk) === false) congested(true);
    },
    end() {
      if (layers.length === 0) end();
      else layers[0]?.end();
    },
    pause() {
      paused = true;
      layers.at(-1)?.pause();
    },
    resume() {
      paused = false;
      layers.at(-1)?.resume();
    },
    destroy() {
      for (const layer of layers) layer.removeAllListeners('data').removeAllListeners('end').destroy();
    },
  };
}

const zlibMark = 0x78;

/** Undoes one compression. What the end leaves open is given as far as it can be read: whether it is whole is the reader's to see. */
function createDecompressor(encoding: string, firstByte: number): Transform {
  const { Z_SYNC_FLUSH, BROTLI_OPERATION_FLUSH, ZSTD_e_flush } = constants;
  if (encoding === 'br') return createBrotliDecompress({ finishFlush: BROTLI_OPERATION_FLUSH });
  if (encoding === 'zstd') return createZstdDecompress({ finishFlush: ZSTD_e_flush });
  if (encoding !== 'deflate') return createGunzip({ finishFlush: Z_SYNC_FLUSH });
  // Half of the servers mean the bare format, which does not begin with this mark.
  const wrapped = (firstByte & 0x0f) === 8;
  return wrapped ? createInflate({ finishFlush: Z_SYNC_FLUSH }) : createInflateRaw({ finishFlush: Z_SYNC_FLUSH });
}
