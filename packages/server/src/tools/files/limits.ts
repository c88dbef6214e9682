import { NexusError } from '#core';
import type { FileChange } from '#storage';

/** What a session's files may be. */
export interface FileLimits {
  /** Most files. */
  readonly maxFiles: number;
  /** Most bytes of all of them. */
  readonly maxBytes: number;
  /** Largest file. */
  readonly maxFileBytes: number;
  /** Most files that one call may change. */
  readonly maxChanged: number;
}

export interface Size {
  readonly files: number;
  readonly bytes: number;
}

/** Longest path of a file that is kept, in bytes: an index of Postgres takes entries of 2,704, which also say whose it is. */
const maxPathBytes = 2_048;

export function requirePathFits(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= maxPathBytes) return;
  throw new NexusError(
    'path_not_allowed',
    `a path of a file may have ${maxPathBytes} bytes, ${JSON.stringify(path.slice(0, 200))}… has ${bytes}; use shorter names`,
  );
}

export function requireFileFits({ maxFileBytes }: FileLimits, path: string, bytes: number): void {
  requirePathFits(path);
  if (bytes <= maxFileBytes) return;
  throw new NexusError(
    'payload_too_large',
    `a file may have ${maxFileBytes} bytes, ${JSON.stringify(path)} has ${bytes}; write several files`,
  );
}

export function requireFewChanges({ maxChanged }: FileLimits, changed: number): void {
  if (changed <= maxChanged) return;
  throw new NexusError('payload_too_large', `one call may change ${maxChanged} files, and this would change more; do it in several calls`);
}

/** Refuses what makes the files more than they may be; what makes them fewer or smaller is never refused. */
export function requireRoom({ maxFiles, maxBytes }: FileLimits, now: Size, change: Size): void {
  const fits = (change.bytes <= 0 || now.bytes + change.bytes <= maxBytes) && (change.files <= 0 || now.files + change.files <= maxFiles);
  if (fits) return;
  throw new NexusError(
    'payload_too_large',
    `the session may hold ${maxBytes} bytes in ${maxFiles} files and has ${now.bytes} bytes in ${now.files}; write less`,
  );
}

/** By how much a change of a path alters the whole. */
export function sizeOfChange(before: { readonly bytes: number } | null, { content }: FileChange): Size {
  const files = (content === null ? 0 : 1) - (before === null ? 0 : 1);
  return { files, bytes: (content?.bytes ?? 0) - (before?.bytes ?? 0) };
}
