import { lstat, mkdir, rm } from 'node:fs/promises';
import type { SessionId, TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError, throwIfAborted } from '#core';
import { type BlobStore, type FileContent, type FileRow, type FileStore, type FileTree, readBlob } from '#storage';
import type { Workspaces } from '#tools/workspace';
import { Gate } from './gate.ts';
import type { FileLimits, Size } from './limits.ts';
import { keepSeed, type SeedLimits } from './seed.ts';

export interface TreeFolderOptions {
  readonly store: FileStore;
  readonly blobs: BlobStore;
  readonly workspaces: Workspaces;
  readonly limits: FileLimits & SeedLimits;
  /** The folder that a new session begins with; undefined for none. */
  readonly seedOf: (tenantId: string, sessionId: string) => Promise<string | undefined>;
  /** A new name for a folder, which is not there yet. */
  readonly newFolder: () => string;
  readonly clock: Clock;
}

export interface TreeKey {
  readonly tenantId: TenantId;
  readonly sessionId: SessionId;
  readonly treeId: string;
}

/** What a call is about to commit. */
export interface PendingChanges {
  /** Hashes by path, null for a file that will be gone. */
  readonly contents: Map<string, string | null>;
  size: Size;
  /** By the monotonic clock: nobody says when a commit was lost. */
  expiresAt: number;
  /** By the same clock: so long nobody else builds on what stands there now. Before {@link expiresAt}. */
  heldUntil: number;
}

const pageSize = 500;
/** Files that are brought at the same time: each may be a request to another machine. */
const maxPlaced = 8;
/** How often a content is asked for that comes damaged. */
const maxReads = 3;

/**
 * The folder of one tree in this process. Nobody else knows it, and but for what a call does that has it to itself it holds what one
 * version of the tree holds: it is made from what is committed, and can be thrown away at any time.
 */
export class TreeFolder {
  readonly gate = new Gate();
  readonly #options: TreeFolderOptions;
  readonly #key: TreeKey;
  #path: string | null = null;
  /** The version that it holds, but for `#strayed`. */
  #version = 0;
  /** Paths where something else lies, by {@link contentId}; null: nothing, or nobody knows what. */
  readonly #strayed = new Map<string, string | null>();
  /** What was brought of a newer version before that broke off: a large one may take several calls to come. */
  #ahead = new Map<string, string>();
  #syncing: Promise<unknown> = Promise.resolve();
  readonly #pending = new Set<PendingChanges>();

  constructor(options: TreeFolderOptions, key: TreeKey) {
    this.#options = options;
    this.#key = key;
  }

  get path(): string {
    if (this.#path === null) throw new Error('the folder was not made yet');
    return this.#path;
  }

  /** Brings the folder to the newest version. The calls of this process do it one after the other. */
  sync(signal: AbortSignal): Promise<FileTree> {
    const turn = this.#syncing.then(() => this.#sync(signal));
    this.#syncing = turn.catch(() => undefined); // the caller hears of it
    return turn;
  }

  /** Notes that something else lies there than the version holds. */
  stray(path: string, content: FileContent | null): void {
    this.#strayed.set(path, content === null ? null : contentId(content));
  }

  /** By how much the changes will alter the whole that calls of this process are about to commit. */
  get pending(): Size {
    let [files, bytes] = [0, 0];
    for (const changes of this.#pending) {
      if (changes.expiresAt <= this.#options.clock.monotonic()) this.#pending.delete(changes);
      files += changes.size.files;
      bytes += changes.size.bytes;
    }
    return { files, bytes };
  }

  /** Counts the changes until they are seen in the tree, expire or are forgotten. */
  expect(changes: PendingChanges): void {
    this.#pending.add(changes);
  }

  forget(changes: PendingChanges): void {
    this.#pending.delete(changes);
  }

  /** Whether another call than that of these changes is about to change the path. */
  isHeld(path: string, own: PendingChanges): boolean {
    const now = this.#options.clock.monotonic();
    return [...this.#pending].some((changes) => changes !== own && changes.heldUntil > now && changes.contents.has(path));
  }

  #seen(path: string, sha256: string | null): void {
    // They come all together.
    for (const changes of this.#pending) if (changes.contents.get(path) === sha256) this.#pending.delete(changes);
  }

  /** Removes the folder; the next call gets another one. */
  async drop(): Promise<void> {
    const path = this.#path;
    this.#path = null;
    if (path !== null) await rm(path, { recursive: true, force: true });
  }

  async #sync(signal: AbortSignal): Promise<FileTree> {
    throwIfAborted(signal);
    const { store, workspaces } = this.#options;
    const { tenantId, treeId } = this.#key;
    const tree = (await store.getFileTree(tenantId, treeId)) ?? (await this.#begin(signal));
    // A database that was set back, or a folder that somebody removed.
    if (this.#path === null || tree.version < this.#version || !(await stands(this.#path))) await this.#renew();
    const { path } = this;
    if (tree.version > this.#version) {
      const range = { after: this.#version, version: tree.version };
      for await (const gone of pages((page) => store.listRemovedFiles(tenantId, treeId, range, page))) {
        throwIfAborted(signal);
        await workspaces.remove(path, gone);
        this.#strayed.delete(gone);
        this.#seen(gone, null);
      }
      await this.#placeAll(
        pages((page) => store.listFiles(tenantId, treeId, range, page)),
        signal,
      );
      this.#version = tree.version;
    }
    for (const strayed of [...this.#strayed.keys()]) {
      const row = await store.getFile(tenantId, treeId, strayed, tree.version);
      if (row !== null) await this.#place(row, signal);
      else await workspaces.remove(path, strayed);
      this.#strayed.delete(strayed);
    }
    return tree;
  }

  async #begin(signal: AbortSignal): Promise<FileTree> {
    const { store, blobs, limits, seedOf } = this.#options;
    const { tenantId, sessionId, treeId } = this.#key;
    const seed = await seedOf(tenantId, sessionId);
    const files = seed === undefined ? [] : await keepSeed({ blobs, tenantId, signal }, seed, limits);
    return store.beginFileTree(tenantId, { treeId, sessionId }, files);
  }

  async #renew(): Promise<void> {
    await this.drop();
    this.#version = 0;
    this.#strayed.clear();
    this.#ahead.clear();
    const path = this.#options.newFolder();
    await mkdir(path, { recursive: true, mode: 0o700 });
    this.#path = path;
  }

  /** Places what has come with a newer version, and keeps what it has done for the next call where it breaks off. */
  async #placeAll(rows: AsyncIterable<FileRow>, signal: AbortSignal): Promise<void> {
    const before = this.#ahead;
    const ahead = new Map<string, string>();
    try {
      await inParallel(rows, maxPlaced, async (row) => {
        const id = contentId(row);
        if (before.get(row.path) !== id) await this.#place(row, signal);
        before.delete(row.path);
        ahead.set(row.path, id);
        this.#seen(row.path, row.sha256);
      });
    } catch (error) {
      this.#ahead = new Map([...before, ...ahead]);
      throw error;
    }
    // Of a version in between, and gone by now.
    for (const path of before.keys()) this.#strayed.set(path, null);
    this.#ahead = new Map();
  }

  async #place(row: FileRow, signal: AbortSignal): Promise<void> {
    if (this.#strayed.get(row.path) === contentId(row)) return void this.#strayed.delete(row.path);
    const { blobs, workspaces } = this.#options;
    const blob = { tenantId: this.#key.tenantId, sha256: row.sha256, bytes: row.bytes };
    const write = () => workspaces.write(this.path, row.path, readBlob(blobs, blob, signal), { executable: row.executable, signal });
    for (let reads = 1; ; reads++) {
      throwIfAborted(signal);
      try {
        await write();
        this.#strayed.delete(row.path);
        return;
      } catch (error) {
        throwIfAborted(signal);
        if (reads >= maxReads || !(error instanceof NexusError)) throw error;
        if (error.code === 'path_not_allowed' || error.code === 'tool_input_invalid') await workspaces.clear(this.path, row.path);
        else if (error.code !== 'storage_unavailable') throw error;
      }
    }
  }
}

/** What a file is, as far as it is kept. */
function contentId({ sha256, executable }: FileContent): string {
  return executable ? `${sha256} x` : sha256;
}

/** Rejects with the first failure, once nothing is under way any more. */
async function inParallel<T>(items: AsyncIterable<T>, most: number, work: (item: T) => Promise<void>): Promise<void> {
  const running = new Set<Promise<void>>();
  const failures: unknown[] = [];
  for await (const item of items) {
    if (failures.length > 0) break;
    const done = work(item)
      .catch((error: unknown) => void failures.push(error))
      .finally(() => running.delete(done));
    running.add(done);
    if (running.size >= most) await Promise.race(running);
  }
  await Promise.all(running);
  if (failures.length > 0) throw failures[0];
}

async function stands(path: string): Promise<boolean> {
  return lstat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function* pages<T>(
  read: (page: { limit: number; cursor?: string }) => Promise<{ readonly items: readonly T[]; readonly nextCursor: string | null }>,
): AsyncGenerator<T> {
  let cursor: string | null = null;
  do {
    const page: { readonly items: readonly T[]; readonly nextCursor: string | null } = await read({
      limit: pageSize,
      ...(cursor === null ? {} : { cursor }),
    });
    yield* page.items;
    cursor = page.nextCursor;
  } while (cursor !== null);
}
