import { gunzipSync, gzipSync } from 'node:zlib';
import type { SandboxLimits } from './types.ts';

/** All that a program can remember, between two promises: what it goes on from. */
export interface ProgramImage {
  /** Which engine its memory is the memory of. */
  readonly layout: string;
  readonly stackPointer: number;
  readonly limits: SandboxLimits;
  /** What its clock stands at. */
  readonly nowMs: number;
  readonly fuelUsed: number;
  /** Promises that went on, as far as they are not counted as fuel. */
  readonly jobs: number;
  /** So long it has computed. */
  readonly ranMs: number;
  readonly printed: readonly string[];
  readonly outputChars: number;
  /** Calls of tools so far, and the characters of their arguments. */
  readonly calls: number;
  readonly argumentChars: number;
}

/** Memory is mostly zeros. More effort makes it hardly smaller. */
const effort = 1;
const lengthBytes = 4;

/** As bytes that any process can go on from. */
export function packImage(image: ProgramImage, memory: Uint8Array): Uint8Array<ArrayBuffer> {
  const header = Buffer.from(JSON.stringify(image));
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32LE(header.length);
  // With an array of its own, that a message can hand over.
  return Uint8Array.from(Buffer.concat([length, header, gzipSync(memory, { level: effort })]));
}

/** Throws for what no `packImage` has made. */
export function readImage(packed: Uint8Array): { readonly image: ProgramImage; readonly memory: () => Uint8Array } {
  const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  const end = lengthBytes + bytes.readUInt32LE(0);
  // Safe: its hash was that of what was packed.
  const image = JSON.parse(bytes.toString('utf8', lengthBytes, end)) as ProgramImage;
  return { image, memory: () => gunzipSync(bytes.subarray(end), { maxOutputLength: image.limits.memoryBytes + maxSlackBytes }) };
}

/** Memory comes in pages. */
const maxSlackBytes = 64 * 1024;
