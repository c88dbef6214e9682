import { BytePieces } from '#core';

/** What a program said, bounded. */
export interface JailOutput {
  /** False once there was more than may be. */
  add(stream: 'stdout' | 'stderr', bytes: Uint8Array): boolean;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

/** Keeps the first of both together. */
export function firstOutput(maxBytes: number): JailOutput {
  const [ofOutput, ofErrors] = [new BytePieces(), new BytePieces()];
  let left = maxBytes;
  return {
    add(stream, bytes) {
      (stream === 'stdout' ? ofOutput : ofErrors).add(Buffer.from(bytes.subarray(0, Math.max(0, left))));
      left -= bytes.length;
      return left >= 0;
    },
    get stdout() {
      return ofOutput.concat();
    },
    get stderr() {
      return ofErrors.concat();
    },
  };
}

/** Keeps the last of stderr: of a program that lives long, what it said before it ended. */
export function lastErrors(maxBytes: number): JailOutput {
  let kept = Buffer.alloc(0);
  return {
    add(_stream, bytes) {
      kept = Buffer.concat([kept, bytes]);
      if (kept.length > maxBytes) kept = Buffer.from(kept.subarray(kept.length - maxBytes));
      return true;
    },
    stdout: new Uint8Array(),
    get stderr() {
      return kept;
    },
  };
}
