import { ByteSink, errno } from './guest-memory.ts';
import type { HostAnswer, HostQuestion, WasmWrite } from './messages.ts';

export interface FolderDescriptor {
  readonly type: 'folder';
  /** Plain path below the outermost folder, which is `''`. */
  readonly path: string;
}

export interface FileDescriptor {
  readonly type: 'file';
  readonly path: string;
  readonly file: HeldFile;
  readonly mayRead: boolean;
  readonly mayWrite: boolean;
  readonly append: boolean;
  at: number;
}

/** The content of a file while the module works on it: nothing outside changes. */
export interface HeldFile {
  readonly content: ByteSink;
  changed: boolean;
}

export interface FileTableOptions {
  readonly grant: 'none' | 'read' | 'write';
  readonly maxFileBytes: number;
  readonly ask: (question: HostQuestion) => HostAnswer;
  /** Ends the module: it holds more than it may. */
  readonly onTooMuch: () => never;
}

export interface OpenRequest {
  readonly create: boolean;
  readonly exclusive: boolean;
  readonly truncate: boolean;
  readonly folder: boolean;
  readonly mayRead: boolean;
  readonly mayWrite: boolean;
  readonly append: boolean;
}

const firstDescriptor = 3;
const maxOpen = 64;
const maxHeldFiles = 256;

/** What the codes of refusals are called in WASI. */
const refusals: ReadonlyMap<string, number> = new Map([
  ['not_found', errno.noent],
  ['path_not_allowed', errno.notcapable],
  ['policy_denied', errno.acces],
  ['payload_too_large', errno.fbig],
]);

/**
 * The files of a session as a module sees them: each is brought as a whole by the host, which asks policy, and what the module writes
 * stays here until it has ended well. Its own files it sees as it left them.
 */
export class FileTable {
  readonly #options: FileTableOptions;
  readonly #open = new Map<number, FileDescriptor | FolderDescriptor>();
  readonly #held = new Map<string, HeldFile>();
  #heldBytes = 0;

  constructor(options: FileTableOptions) {
    this.#options = options;
    if (options.grant !== 'none') this.#open.set(firstDescriptor, { type: 'folder', path: '' });
  }

  get(descriptor: number): FileDescriptor | FolderDescriptor | undefined {
    return this.#open.get(descriptor);
  }

  isOutermost(descriptor: number): boolean {
    return descriptor === firstDescriptor && this.#open.has(descriptor);
  }

  close(descriptor: number): number {
    // The outermost folder stays: it is what was granted.
    if (descriptor === firstDescriptor && this.#open.has(descriptor)) return errno.ok;
    return this.#open.delete(descriptor) ? errno.ok : errno.badf;
  }

  /** The plain form of a path below an open folder, or why there is none. Nothing climbs, also where it would end inside. */
  resolve(descriptor: number, path: string): string | number {
    const folder = this.#open.get(descriptor);
    if (folder === undefined) return errno.badf;
    if (folder.type !== 'folder') return errno.notdir;
    if (path.startsWith('/') || path.includes('\0')) return errno.notcapable;
    const names = path.split('/').filter((name) => name !== '' && name !== '.');
    if (names.includes('..')) return errno.notcapable;
    return [...(folder.path === '' ? [] : [folder.path]), ...names].join('/');
  }

  look(path: string): { readonly type: 'file'; readonly bytes: number } | { readonly type: 'folder' } | number {
    if (path === '') return { type: 'folder' };
    const held = this.#hold(path);
    if (typeof held === 'number') return held;
    return held === 'folder' ? { type: 'folder' } : { type: 'file', bytes: held.content.length };
  }

  /** A new descriptor, or why not. */
  open(path: string, request: OpenRequest): { readonly descriptor: number } | number {
    const wantsChange = request.mayWrite || request.create || request.truncate;
    if (wantsChange && this.#options.grant !== 'write') return errno.rofs;
    if (this.#open.size >= maxOpen) return this.#options.onTooMuch();
    let held = path === '' ? 'folder' : this.#hold(path);
    if (held === errno.noent && request.create && !request.folder) held = this.#keep(path, new Uint8Array(), true);
    else if (typeof held !== 'number' && request.create && request.exclusive) return errno.exist;
    if (typeof held === 'number') return held;
    if (held === 'folder') {
      if (wantsChange) return errno.isdir;
      return this.#add({ type: 'folder', path });
    }
    if (request.folder) return errno.notdir;
    if (request.truncate) this.resize(held, 0);
    const { mayRead, mayWrite, append } = request;
    return this.#add({ type: 'file', path, file: held, mayRead, mayWrite, append, at: 0 });
  }

  write(file: HeldFile, at: number, bytes: Uint8Array): void {
    this.#account(Math.max(0, at + bytes.length - file.content.length));
    // What lies between is zeros, also where the file was longer before.
    if (at > file.content.length) file.content.resize(at);
    file.content.write(at, bytes);
    file.changed = true;
  }

  resize(file: HeldFile, length: number): void {
    this.#account(length - file.content.length);
    file.content.resize(length);
    file.changed = true;
  }

  /** The entries of a folder, those that the module itself made included; or why not. */
  list(path: string): readonly { readonly name: string; readonly type: 'file' | 'folder' }[] | number {
    const answer = this.#options.ask({ kind: 'list', path });
    if (answer.type === 'refused') return refusals.get(answer.error.code) ?? errno.io;
    const entries = new Map<string, 'file' | 'folder'>();
    if (answer.type === 'entries') for (const { name, type } of answer.entries) entries.set(name, type);
    const prefix = path === '' ? '' : `${path}/`;
    for (const [held, { changed }] of this.#held) {
      if (!changed || !held.startsWith(prefix)) continue;
      const [name = '', ...below] = held.slice(prefix.length).split('/');
      entries.set(name, below.length > 0 ? 'folder' : 'file');
    }
    return [...entries].map(([name, type]) => ({ name, type }));
  }

  /** What the module wrote, in the order of its files. */
  writes(): WasmWrite[] {
    return [...this.#held].flatMap(([path, { content, changed }]) => (changed ? [{ path, content: content.view().slice() }] : []));
  }

  #add(descriptor: FileDescriptor | FolderDescriptor): { readonly descriptor: number } {
    let number = firstDescriptor;
    while (this.#open.has(number)) number += 1;
    this.#open.set(number, descriptor);
    return { descriptor: number };
  }

  #hold(path: string): HeldFile | 'folder' | number {
    const known = this.#held.get(path);
    if (known !== undefined) return known;
    const answer = this.#options.ask({ kind: 'open', path });
    if (answer.type === 'file') return this.#keep(path, answer.content, false);
    if (answer.type === 'folder') return 'folder';
    if (answer.type === 'refused') return refusals.get(answer.error.code) ?? errno.io;
    return errno.noent;
  }

  #keep(path: string, bytes: Uint8Array, changed: boolean): HeldFile {
    if (this.#held.size >= maxHeldFiles) this.#options.onTooMuch();
    this.#account(bytes.length);
    const file: HeldFile = { content: new ByteSink(), changed };
    file.content.write(0, bytes);
    this.#held.set(path, file);
    return file;
  }

  #account(bytes: number): void {
    this.#heldBytes += bytes;
    if (this.#heldBytes > this.#options.maxFileBytes) this.#options.onTooMuch();
  }
}
