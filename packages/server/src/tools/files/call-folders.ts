import { join } from 'node:path';
import type { SessionId, TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';
import type { BlobStore, FileStore } from '#storage';
import type { CallFolder, CallFolders } from '#tools/contract';
import type { Workspaces } from '#tools/workspace';
import type { CallFolderOptions } from './call-changes.ts';
import { lendFolder, shareFolder } from './call-folder.ts';
import type { FileLimits } from './limits.ts';
import { type OwnFolderOptions, openOwnFolder } from './own-folder.ts';
import type { SeedLimits } from './seed.ts';
import { TreeFolder, type TreeFolderOptions } from './tree-folder.ts';

export interface SessionFilesOptions extends OwnFolderOptions {
  readonly store: FileStore;
  readonly blobs: BlobStore;
  readonly workspaces: Workspaces;
  readonly limits: FileLimits & SeedLimits;
  /** The folder that a new session begins with; undefined for none. */
  readonly seedOf: TreeFolderOptions['seedOf'];
  /** A folder that no call used for so long is removed; it is made again when one does. */
  readonly idleMs: number;
  readonly clock: Clock;
}

export interface SessionFiles extends CallFolders {
  /** Removes every folder of this process. No call may be under way. */
  close(): Promise<void>;
}

const pausesMs = [100, 400, 1_500];

interface Held {
  readonly folder: TreeFolder;
  usedAt: number;
}

/** The files of sessions on this machine: a folder for each tree that is in use, made from what is committed. */
export async function openSessionFiles(options: SessionFilesOptions): Promise<SessionFiles> {
  const { store, blobs, workspaces, limits, idleMs, clock, timers, onError } = options;
  const own = await openOwnFolder(options);
  const held = new Map<string, Held>();
  const background = new Set<Promise<unknown>>();
  let folders = 0;

  const afterwards = (work: Promise<unknown>) => {
    const settled = work.catch(onError).finally(() => background.delete(settled));
    background.add(settled);
  };
  const forCalls: CallFolderOptions = { store, blobs, workspaces, limits, monotonic: () => clock.monotonic(), afterwards };

  function find(tenantId: string, sessionId: string, treeId: string): Held {
    const name = `${tenantId}/${treeId}`;
    const known = held.get(name);
    if (known !== undefined) return known;
    const newFolder = () => {
      folders += 1;
      return join(own.path, String(folders));
    };
    // the caller names a session and a run of the tenant
    const key = { tenantId: tenantId as TenantId, sessionId: sessionId as SessionId, treeId };
    const made = { folder: new TreeFolder({ ...options, newFolder }, key), usedAt: clock.monotonic() };
    held.set(name, made);
    return made;
  }

  /** A database or a store that is away for a moment fails no call. */
  async function patiently<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (const pauseMs of pausesMs) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof NexusError) || !error.retryable || signal.aborted) throw error;
      }
      await timers.sleep(pauseMs, signal);
    }
    return work();
  }

  const cancel = timers.every(Math.max(1_000, idleMs / 2), () => {
    for (const [name, { folder, usedAt }] of held) {
      if (!folder.gate.isEmpty || clock.monotonic() - usedAt < idleMs) continue;
      held.delete(name);
      afterwards(folder.drop());
    }
  });

  return {
    async open(request, signal): Promise<CallFolder> {
      const { tenantId, sessionId, filesOf: treeId = sessionId, shared } = request;
      const found = find(tenantId, sessionId, treeId);
      const leave = await found.folder.gate.enter(!shared, signal);
      try {
        const tree = await patiently(() => found.folder.sync(signal), signal);
        const { folder } = found;
        const stay = { request, folder, tree, tenantId: tenantId as TenantId, leave }; // as above
        return shared ? shareFolder(forCalls, stay) : await lendFolder(forCalls, stay);
      } catch (error) {
        leave();
        throw explain(error);
      } finally {
        found.usedAt = clock.monotonic();
      }
    },
    async close() {
      cancel();
      while (background.size > 0) await Promise.all(background);
      await own.close();
    },
  };
}

/** The model is told what it can make sense of; what the file system said is for the log. */
function explain(error: unknown): unknown {
  if (!(error instanceof NexusError)) return error;
  if (error.code === 'not_found')
    return new NexusError('storage_unavailable', `the files of the session cannot be brought here: ${error.message}`, { cause: error });
  return error;
}
