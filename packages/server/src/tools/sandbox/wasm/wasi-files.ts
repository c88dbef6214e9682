import type { FileDescriptor, FileTable } from './descriptors.ts';
import { errno, type GuestMemory, unsigned } from './guest-memory.ts';

export type WasiFunction = (...values: never[]) => number;

export interface WasiStreams {
  /** Takes what was printed; throws when it is too much. */
  write(stream: 1 | 2, bytes: Uint8Array): void;
  /** At most so many bytes of what the module is given. */
  read(length: number): Uint8Array;
}

const right = { read: 1n << 1n, write: 1n << 6n };
const openFlag = { create: 1, folder: 2, exclusive: 4, truncate: 8 };
const appendFlag = 1;
const fileType = { unknown: 0, folder: 3, file: 4 };
const maxPieces = 1_024;
const maxPathBytes = 4_096;
/** Positions beyond this are nowhere in a file that a module may hold. */
const maxPosition = 2n ** 40n;

/** The part of WASI that has to do with descriptors: three streams, and the files of the session where they are granted. */
export function createWasiFiles(memory: GuestMemory, files: FileTable, streams: WasiStreams): Record<string, WasiFunction> {
  return { ...transfers(memory, files, streams), ...descriptorCalls(memory, files), ...paths(memory, files) };
}

const position = (value: bigint) => (value < 0n || value > maxPosition ? null : Number(value));
const isStream = (descriptor: number) => descriptor >= 0 && descriptor <= 2;

/** The file that is open there, or why there is none. */
function fileAt(files: FileTable, descriptor: number): FileDescriptor | number {
  const found = files.get(unsigned(descriptor));
  if (found === undefined) return isStream(descriptor) ? errno.spipe : errno.badf;
  return found.type === 'file' ? found : errno.isdir;
}

function stat(memory: GuestMemory, pointer: number, type: number, bytes: number): number {
  memory.bytes(pointer, 64).fill(0);
  memory.view.setUint8(unsigned(pointer) + 16, type);
  memory.setLong(pointer + 24, 1n);
  memory.setLong(pointer + 32, BigInt(bytes));
  return errno.ok;
}

/** Reading and writing. */
function transfers(memory: GuestMemory, files: FileTable, streams: WasiStreams): Record<string, WasiFunction> {
  /** Pointer and length of each piece of a vector. */
  function pieces(pointer: number, count: number): readonly (readonly [number, number])[] | null {
    if (unsigned(count) > maxPieces) return null;
    const { view } = memory;
    return Array.from({ length: unsigned(count) }, (_, index) => {
      const at = unsigned(pointer) + index * 8;
      return [view.getUint32(at, true), view.getUint32(at + 4, true)] as const;
    });
  }

  function write(descriptor: number, vector: number, count: number, at: number | null, written: number): number {
    const list = pieces(vector, count);
    if (list === null) return errno.inval;
    const stream = descriptor === 1 || descriptor === 2 ? descriptor : null;
    const file = stream === null ? fileAt(files, descriptor) : null;
    if (typeof file === 'number') return file === errno.spipe ? errno.badf : file;
    if (file !== null && !file.mayWrite) return errno.badf;
    if (stream !== null && at !== null) return errno.spipe;
    let total = 0;
    for (const [pointer, length] of list) {
      const bytes = memory.bytes(pointer, length);
      if (stream !== null) streams.write(stream, bytes);
      else if (file !== null) {
        const to = at === null ? (file.append ? file.file.content.length : file.at) : at + total;
        files.write(file.file, to, bytes);
        if (at === null) file.at = to + length;
      }
      total += length;
    }
    memory.setNumber(written, total);
    return errno.ok;
  }

  function read(descriptor: number, vector: number, count: number, at: number | null, wasRead: number): number {
    const list = pieces(vector, count);
    if (list === null) return errno.inval;
    const file = descriptor === 0 ? null : fileAt(files, descriptor);
    if (typeof file === 'number') return file === errno.spipe ? errno.badf : file;
    if (file !== null && !file.mayRead) return errno.badf;
    if (file === null && at !== null) return errno.spipe;
    let total = 0;
    for (const [pointer, length] of list) {
      const target = memory.bytes(pointer, length);
      const from = at === null ? (file?.at ?? 0) : at + total;
      const bytes = file === null ? streams.read(length) : file.file.content.view(from, from + length);
      target.set(bytes);
      if (file !== null && at === null) file.at = from + bytes.length;
      total += bytes.length;
      if (bytes.length < length) break;
    }
    memory.setNumber(wasRead, total);
    return errno.ok;
  }

  return {
    fd_write: (descriptor: number, vector: number, count: number, written: number) => write(descriptor, vector, count, null, written),
    fd_read: (descriptor: number, vector: number, count: number, wasRead: number) => read(descriptor, vector, count, null, wasRead),
    fd_pwrite(descriptor: number, vector: number, count: number, offset: bigint, written: number) {
      const at = position(offset);
      return at === null ? errno.inval : write(descriptor, vector, count, at, written);
    },
    fd_pread(descriptor: number, vector: number, count: number, offset: bigint, wasRead: number) {
      const at = position(offset);
      return at === null ? errno.inval : read(descriptor, vector, count, at, wasRead);
    },
  };
}

/** What an open descriptor is. */
function descriptorCalls(memory: GuestMemory, files: FileTable): Record<string, WasiFunction> {
  return {
    fd_close: (descriptor: number) => (isStream(descriptor) ? errno.ok : files.close(unsigned(descriptor))),
    fd_seek(descriptor: number, offset: bigint, whence: number, result: number) {
      const file = fileAt(files, descriptor);
      if (typeof file === 'number') return file;
      const base = whence === 0 ? 0 : whence === 1 ? file.at : whence === 2 ? file.file.content.length : null;
      const at = base === null ? null : position(BigInt(base) + offset);
      if (at === null) return errno.inval;
      file.at = at;
      memory.setLong(result, BigInt(at));
      return errno.ok;
    },
    fd_tell(descriptor: number, result: number) {
      const file = fileAt(files, descriptor);
      if (typeof file === 'number') return file;
      memory.setLong(result, BigInt(file.at));
      return errno.ok;
    },
    fd_sync: (descriptor: number) => (files.get(unsigned(descriptor)) === undefined ? errno.badf : errno.ok),
    fd_datasync: (descriptor: number) => (files.get(unsigned(descriptor)) === undefined ? errno.badf : errno.ok),
    fd_filestat_get(descriptor: number, pointer: number) {
      if (isStream(descriptor)) return stat(memory, pointer, fileType.unknown, 0);
      const found = files.get(unsigned(descriptor));
      if (found === undefined) return errno.badf;
      return found.type === 'folder'
        ? stat(memory, pointer, fileType.folder, 0)
        : stat(memory, pointer, fileType.file, found.file.content.length);
    },
    fd_filestat_set_size(descriptor: number, length: bigint) {
      const file = fileAt(files, descriptor);
      if (typeof file === 'number') return file;
      const size = position(length);
      if (size === null) return errno.inval;
      if (!file.mayWrite) return errno.badf;
      files.resize(file.file, size);
      return errno.ok;
    },
    fd_fdstat_get(descriptor: number, pointer: number) {
      const found = files.get(unsigned(descriptor));
      if (found === undefined && !isStream(descriptor)) return errno.badf;
      memory.bytes(pointer, 24).fill(0);
      const type = found === undefined ? fileType.unknown : found.type === 'folder' ? fileType.folder : fileType.file;
      memory.view.setUint8(unsigned(pointer), type);
      memory.setLong(pointer + 8, (1n << 30n) - 1n);
      memory.setLong(pointer + 16, (1n << 30n) - 1n);
      return errno.ok;
    },
    fd_fdstat_set_flags: (descriptor: number) => (typeof fileAt(files, descriptor) === 'number' ? errno.badf : errno.ok),
    fd_prestat_get(descriptor: number, pointer: number) {
      if (!files.isOutermost(unsigned(descriptor))) return errno.badf;
      memory.setNumber(pointer, 0);
      memory.setNumber(pointer + 4, 1);
      return errno.ok;
    },
    fd_prestat_dir_name(descriptor: number, pointer: number, length: number) {
      if (!files.isOutermost(unsigned(descriptor))) return errno.badf;
      if (unsigned(length) < 1) return errno.nametoolong;
      memory.view.setUint8(unsigned(pointer), 0x2f); // "/"
      return errno.ok;
    },
    fd_readdir(descriptor: number, pointer: number, length: number, cookie: bigint, used: number) {
      const folder = files.get(unsigned(descriptor));
      if (folder === undefined) return errno.badf;
      if (folder.type !== 'folder') return errno.notdir;
      const entries = files.list(folder.path);
      if (typeof entries === 'number') return entries;
      const target = memory.bytes(pointer, length);
      let at = 0;
      for (let index = Number(cookie); index < entries.length && at < target.length; index++) {
        const entry = entries[index];
        if (entry === undefined) break;
        const name = new TextEncoder().encode(entry.name);
        const record = new Uint8Array(24 + name.length);
        const view = new DataView(record.buffer);
        view.setBigUint64(0, BigInt(index + 1), true);
        view.setUint32(16, name.length, true);
        view.setUint8(20, entry.type === 'folder' ? fileType.folder : fileType.file);
        record.set(name, 24);
        const part = record.subarray(0, target.length - at);
        target.set(part, at);
        at += part.length;
      }
      memory.setNumber(used, at);
      return errno.ok;
    },
  };
}

/** What lies below a folder that is open. */
function paths(memory: GuestMemory, files: FileTable): Record<string, WasiFunction> {
  /** A path of the module below a folder that it has open. */
  function pathAt(descriptor: number, pointer: number, length: number): string | number {
    if (unsigned(length) > maxPathBytes) return errno.nametoolong;
    let path: string;
    try {
      path = memory.text(pointer, length);
    } catch (error) {
      if (error instanceof RangeError) throw error;
      return errno.inval; // no UTF-8
    }
    return files.resolve(unsigned(descriptor), path);
  }

  return {
    path_open(
      ...[descriptor, , pointer, length, flags, rights, , fdFlags, result]: [
        number,
        number,
        number,
        number,
        number,
        bigint,
        bigint,
        number,
        number,
      ]
    ) {
      const path = pathAt(descriptor, pointer, length);
      if (typeof path === 'number') return path;
      const opened = files.open(path, {
        create: (flags & openFlag.create) !== 0,
        exclusive: (flags & openFlag.exclusive) !== 0,
        truncate: (flags & openFlag.truncate) !== 0,
        folder: (flags & openFlag.folder) !== 0,
        // A folder is opened with all rights there are: only for a file do they say what is wanted.
        mayRead: (rights & right.read) !== 0n,
        mayWrite: (rights & right.write) !== 0n && (flags & openFlag.folder) === 0,
        append: (fdFlags & appendFlag) !== 0,
      });
      if (typeof opened === 'number') return opened;
      memory.setNumber(result, opened.descriptor);
      return errno.ok;
    },
    path_filestat_get(descriptor: number, _flags: number, pointer: number, length: number, result: number) {
      const path = pathAt(descriptor, pointer, length);
      if (typeof path === 'number') return path;
      const found = files.look(path);
      if (typeof found === 'number') return found;
      return found.type === 'folder' ? stat(memory, result, fileType.folder, 0) : stat(memory, result, fileType.file, found.bytes);
    },
  };
}
