import { gunzipSync, gzipSync } from 'node:zlib';
import { NexusError } from '#core';

export type PackedFiles = ReadonlyMap<string, Uint8Array>;

const blockBytes = 512;
const maxFiles = 200;
/** With folders, and notes about what follows. */
const maxEntries = 2_000;
const typeAt = 156;

function invalid(message: string): NexusError {
  return new NexusError('invalid_request', `the package cannot be read: ${message}`);
}

function textAt(block: Uint8Array, from: number, length: number): string {
  const bytes = block.subarray(from, from + length);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end === -1 ? bytes : bytes.subarray(0, end));
}

function octalAt(block: Uint8Array, from: number, length: number): number {
  const text = textAt(block, from, length).trim();
  if (!/^[0-7]{1,12}$/.test(text)) throw invalid('a number in a header of it is none');
  return Number.parseInt(text, 8);
}

function isEmpty(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

function requireSum(block: Uint8Array): void {
  const sum = block.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte), 0);
  if (sum !== octalAt(block, 148, 8)) throw invalid('a header of it has another sum than it says');
}

/** The plain name of a file, without the folder that npm puts everything in. Null for what lies outside such a name. */
function plainName(name: string): string {
  const names = name.split('/').filter((part) => part !== '.');
  if (name.startsWith('/') || name.includes('\\') || names.some((part) => part === '..' || part === '')) {
    throw invalid(`${JSON.stringify(name.slice(0, 200))} is no path inside it`);
  }
  return names.join('/');
}

/**
 * The files of a `.tgz`, as `npm pack` makes it: in a folder `package`, or in none. Nothing is ever written anywhere; links, devices and
 * paths that climb are refused, as is what is larger than `maxBytes` when it is unpacked. Throws `invalid_request` and `payload_too_large`.
 */
export function unpackTarball(packed: Uint8Array, { maxBytes }: { readonly maxBytes: number }): PackedFiles {
  let tar: Uint8Array;
  try {
    tar = gunzipSync(packed, { maxOutputLength: maxBytes + maxFiles * 2 * blockBytes + 64 * 1024 });
  } catch (error) {
    if (error instanceof RangeError) throw new NexusError('payload_too_large', `the package unpacks to more than ${maxBytes} bytes`);
    throw invalid('it is no gzip file; give a .tgz as npm pack makes it');
  }
  const files = new Map<string, Uint8Array>();
  for (let at = 0, entries = 0; at + blockBytes <= tar.length; entries++) {
    if (entries > maxEntries) throw invalid(`it has more than ${maxEntries} entries`);
    const block = tar.subarray(at, at + blockBytes);
    at += blockBytes;
    if (isEmpty(block)) break;
    requireSum(block);
    const size = octalAt(block, 124, 12);
    const content = tar.subarray(at, at + size);
    if (content.length < size) throw invalid('it ends within a file');
    at += Math.ceil(size / blockBytes) * blockBytes;
    const type = String.fromCharCode(block[typeAt] ?? 0);
    if (type === '5' || type === 'g' || type === 'x') continue; // folders, and notes about what follows
    const prefix = textAt(block, 257, 5) === 'ustar' ? textAt(block, 345, 155) : '';
    const name = plainName(prefix === '' ? textAt(block, 0, 100) : `${prefix}/${textAt(block, 0, 100)}`);
    if (type !== '0' && type !== '\0') throw invalid(`${JSON.stringify(name.slice(0, 200))} is no plain file`);
    const own = name.startsWith('package/') ? name.slice('package/'.length) : name;
    if (files.has(own)) throw invalid(`it has ${JSON.stringify(own.slice(0, 200))} twice`);
    if (files.size >= maxFiles) throw invalid(`it has more than ${maxFiles} files`);
    files.set(own, content);
  }
  return files;
}

/** The same files always give the same bytes. */
export function packTarball(files: PackedFiles): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (const [name, content] of [...files].sort(([one], [other]) => (one < other ? -1 : 1))) {
    const header = Buffer.alloc(blockBytes);
    header.write(`package/${name}`, 0, 100);
    header.write('0000644\0', 100);
    header.write('0000000\0', 108);
    header.write('0000000\0', 116);
    header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('00000000000\0', 136);
    header.write('        ', 148);
    header.write('0', typeAt);
    header.write('ustar\0', 257);
    header.write('00', 263);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    blocks.push(header, content, Buffer.alloc((blockBytes - (content.length % blockBytes)) % blockBytes));
  }
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(2 * blockBytes)]));
}
