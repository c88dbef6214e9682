import type { Page, RunId, SessionFile, SessionId } from '@nexus-agent/protocol';
import { closest, NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import { type BlobStore, type FileRow, type FileStore, type FileTree, type PageRequest, type RunStore, readBlob, viewPage } from '#storage';

/** Which files: those of a session, or with `run` those that the run works on, which a fork has for itself. */
export interface FilesOf {
  readonly sessionId: string;
  readonly run?: string | undefined;
}

/** The files of sessions, as they are committed. Both throw `not_found` for a session or a run that the tenant does not have. */
export interface Files {
  /** By path. */
  list(principal: Principal, of: FilesOf, page: PageRequest): Promise<Page<SessionFile>>;
  /** Throws `not_found` where there is no such file. `read` gives its content, the last of it once all of it is known to be right. */
  get(
    principal: Principal,
    of: FilesOf,
    path: string,
  ): Promise<{ readonly file: SessionFile; read(signal: AbortSignal): AsyncGenerator<Uint8Array> }>;
}

export interface FilesDependencies {
  readonly store: Pick<RunStore, 'getRun' | 'getSession' | 'readEvents'> & Pick<FileStore, 'getFileTree' | 'listFiles' | 'getFile'>;
  readonly blobs: Pick<BlobStore, 'get'>;
}

export function createFiles({ store, blobs }: FilesDependencies): Files {
  /** The tree's newest version, null when no tool has looked at the files yet. */
  async function treeOf({ tenantId }: Principal, { sessionId, run }: FilesOf) {
    const session = await store.getSession(tenantId, sessionId as SessionId); // an unknown id is simply not found
    if (session === null) throw new NexusError('not_found', `there is no session ${sessionId}`);
    return store.getFileTree(tenantId, run === undefined ? session.sessionId : await treeOfRun(tenantId, session.sessionId, run));
  }

  async function treeOfRun(tenantId: Principal['tenantId'], sessionId: SessionId, runId: string): Promise<string> {
    const row = isText(runId) ? await store.getRun(tenantId, runId as RunId) : null; // an unknown id is simply not found
    if (row === null || row.sessionId !== sessionId) throw new NexusError('not_found', `the session ${sessionId} has no run ${runId}`);
    const [first] = await store.readEvents(tenantId, row.runId, { after: 0, limit: 1 });
    const { filesOf }: { filesOf?: string } = first === undefined ? {} : JSON.parse(first.data); // a journal begins with run.created
    return filesOf ?? sessionId;
  }

  async function nearest(tenantId: Principal['tenantId'], tree: FileTree | null, path: string): Promise<string> {
    if (tree === null) return '; no tool has written one';
    const { items } = await store.listFiles(tenantId, tree.treeId, { after: 0, version: tree.version }, { limit: 200 });
    const near = closest(
      path.slice(0, 200),
      items.map((file) => file.path),
    );
    return near === null ? '' : `; did you mean ${JSON.stringify(near)}?`;
  }

  return {
    async list(principal, of, page) {
      const tree = await treeOf(principal, of);
      if (tree === null) return { data: [], nextCursor: null };
      const rows = await store.listFiles(principal.tenantId, tree.treeId, { after: 0, version: tree.version }, page);
      return viewPage(rows, fileView);
    },
    async get(principal, of, path) {
      const { tenantId } = principal;
      const tree = await treeOf(principal, of);
      const row = tree === null || !isText(path) ? null : await store.getFile(tenantId, tree.treeId, path, tree.version);
      if (row === null)
        throw new NexusError('not_found', `there is no file ${JSON.stringify(path.slice(0, 200))}${await nearest(tenantId, tree, path)}`);
      const { sha256, bytes } = row;
      return { file: fileView(row), read: (signal) => readBlob(blobs, { tenantId, sha256, bytes }, signal) };
    },
  };
}

/** Whether a database can be asked for it. */
function isText(value: string): boolean {
  return value.isWellFormed() && !value.includes('\u0000');
}

function fileView({ path, bytes, sha256, executable, runId, at }: FileRow): SessionFile {
  return { path, bytes, sha256, executable, ...(runId === null ? {} : { runId }), updatedAt: toTimestamp(at) };
}
