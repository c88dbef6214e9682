import type { RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import type { PageOf, PageRequest } from './pages.ts';

/** What a file holds: its content is a blob of this hash. */
export interface FileContent {
  /** SHA-256 in hex. */
  readonly sha256: string;
  readonly bytes: number;
  readonly executable: boolean;
}

/**
 * The files that runs work on, by path. A session has one tree under its own id; a fork has one of its own, under the id of the
 * run. Each change of a tree is a version of it, and the files of an older version are still known.
 */
export interface FileTree {
  readonly treeId: string;
  readonly sessionId: SessionId;
  readonly version: number;
  readonly files: number;
  readonly bytes: number;
}

/** A file as one version of a tree holds it. */
export interface FileRow extends FileContent {
  readonly path: string;
  /** The version in which it came. */
  readonly version: number;
  /** Who wrote it; null for what the session began with, and for a call outside a run. */
  readonly runId: RunId | null;
  readonly at: number;
}

export interface FileChange {
  readonly path: string;
  /** Null: there is no such file any more. */
  readonly content: FileContent | null;
}

/**
 * What one tool call changed of a tree: the next version of it, whatever others have changed meanwhile. The commit fails with
 * `storage_unavailable` and the `callId` in its details where a content is gone that a file would have.
 */
export interface FilesCommit {
  readonly treeId: string;
  readonly runId: RunId | null;
  readonly callId: string;
  /** Not empty. */
  readonly changes: readonly FileChange[];
}

/** A new tree that holds what another one did at a version. */
export interface FilesCopy {
  readonly sessionId: SessionId;
  readonly from: { readonly treeId: string; readonly version: number };
  readonly to: RunId;
}

export interface FileRange {
  /** What has come since this version; 0: everything. */
  readonly after: number;
  /** The version that is read. */
  readonly version: number;
}

/** The trees. They are changed by commits; the contents lie in a {@link BlobStore}. */
export interface FileStore {
  getFileTree(tenantId: TenantId, treeId: string): Promise<FileTree | null>;
  /** Version 1 of a tree, unless there is one by now: what stands afterwards is the answer. Throws `not_found` where the session is gone, and `storage_unavailable` where a content is. */
  beginFileTree(
    tenantId: TenantId,
    tree: { readonly treeId: string; readonly sessionId: SessionId },
    files: readonly (FileContent & { readonly path: string })[],
  ): Promise<FileTree>;
  /** By path. */
  listFiles(tenantId: TenantId, treeId: string, range: FileRange, page: PageRequest): Promise<PageOf<FileRow>>;
  /** Paths that had a file after `after` and have none in the version that is read. */
  listRemovedFiles(tenantId: TenantId, treeId: string, range: FileRange, page: PageRequest): Promise<PageOf<string>>;
  getFile(tenantId: TenantId, treeId: string, path: string, version: number): Promise<FileRow | null>;
  /** The versions that these calls made. */
  listFileVersions(tenantId: TenantId, treeId: string, callIds: readonly string[]): Promise<readonly number[]>;
  /** The first version that the run, or one that was created after it, made; null if there is none. */
  firstFileVersionSince(
    tenantId: TenantId,
    treeId: string,
    run: { readonly runId: RunId; readonly createdAt: number },
  ): Promise<number | null>;
}
