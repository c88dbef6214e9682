import { createHash, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SessionId, TenantId } from '@nexus-agent/protocol';
import { afterEach, beforeEach } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createKeptBlobs, openFolderBlobs } from '../../packages/server/src/storage/blobs/index.ts';
import type { BlobStore, Store } from '../../packages/server/src/storage/index.ts';
import {
  createWorkspaces,
  openSessionFiles,
  type SessionFiles,
  type Tool,
  type ToolCallEnd,
} from '../../packages/server/src/tools/index.ts';
import { createTestToolService, makeTool, makeToolCall, readCall, said } from '../../packages/server/src/tools/testing/index.ts';
import { openTestStore, sessionRow } from '../support/stores.ts';

type Options = Parameters<typeof openSessionFiles>[0];

export const limits = { maxFiles: 100, maxBytes: 100_000, maxFileBytes: 50_000, maxChanged: 50, maxSeedFiles: 100, maxSeedBytes: 100_000 };
export const tenantId = 'ten_1' as TenantId;
export const sessionId = 'ses_1' as SessionId;

export let base: string;
export let store: Store;
export let blobs: BlobStore;
const opened: SessionFiles[] = [];
/** There are files of sessions that there are. */
export const beginSession = (id: string) => store.commit({ tenantId, sessions: [sessionRow(tenantId, { sessionId: id as SessionId })] });

/** A store, contents and a folder for each test of a file. */
export function beginsAnew(): void {
  beforeEach(async () => {
    base = await mkdtemp(join(tmpdir(), 'nexus-session-files-'));
    store = await openTestStore({ url: 'sqlite::memory:' });
    await beginSession(sessionId);
    const driver = await openFolderBlobs(join(base, 'blobs'));
    blobs = createKeptBlobs({ driver, store, clock: systemClock, timers: systemTimers, keepMs: 86_400_000 });
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((files) => files.close()));
    await store.close();
    await rm(base, { recursive: true, force: true });
  });
}

/** A process of its own, as far as files go, with a tool that does what a test wants. */
export async function machine(name: string, options: Partial<Options> = {}) {
  const errors: unknown[] = [];
  const root = join(base, name);
  const workspaces = createWorkspaces();
  const files = await openSessionFiles({
    name: randomUUID(),
    ...{ root, store, blobs, workspaces, limits, idleMs: 600_000, clock: systemClock, timers: systemTimers },
    seedOf: async () => undefined,
    onError: (error) => errors.push(error),
    ...options,
  });
  opened.push(files);
  let calls = 0;
  /** Runs a tool to its end and commits nothing. */
  async function call(
    execute: Tool['execute'],
    definition: Partial<Tool> = {},
    more: Partial<Parameters<typeof makeToolCall>[0]> = {},
  ): Promise<ToolCallEnd> {
    calls += 1;
    const tool = makeTool({ permissions: ['fs.read', 'fs.write'], effects: 'idempotent', execute, ...definition });
    const service = createTestToolService([tool], { folders: files, graceMs: 50 });
    return readCall(service, makeToolCall({ callId: `call_${name}_${calls}`, ...more }));
  }
  return {
    root,
    errors,
    call,
    write: (path: string, content: string, definition: Partial<Tool> = {}) =>
      call(
        async (_input, context) => {
          await context.files.write(path, Buffer.from(content), context.signal);
          return { type: 'ok', output: 'wrote' };
        },
        { sharesFolder: true, ...definition },
      ),
    /** A tool that works in the folder as it likes. */
    work: (action: (folder: string, signal: AbortSignal) => Promise<unknown>, definition: Partial<Tool> = {}, more = {}) =>
      call(
        async (_input, { workspace, signal }) => {
          await action(workspace, signal);
          return { type: 'ok', output: 'worked' };
        },
        definition,
        more,
      ),
    /** What a reading tool sees. */
    async see(filesOf?: string): Promise<Record<string, string>> {
      let seen: Record<string, string> = {};
      const end = await call(
        async (_input, { workspace }) => {
          seen = await contents(workspace);
          return { type: 'ok', output: '' };
        },
        { permissions: ['fs.read'], sharesFolder: true },
        filesOf === undefined ? {} : { filesOf },
      );
      if (end.type === 'failed') throw new Error(said(end));
      return seen;
    },
  };
}

async function contents(folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    found[path.slice(folder.length + 1)] = entry.isFile() ? await readFile(path, 'utf8') : '/';
  }
  return Object.fromEntries(Object.entries(found).filter(([, content]) => content !== '/'));
}

/** Makes files and removes them (no text), whatever stands in the way. */
export async function rework(folder: string, changes: readonly { readonly path: string; readonly text: string }[]): Promise<void> {
  for (const { path, text } of changes) {
    const names = path.split('/');
    for (let depth = 1; depth < names.length; depth++) {
      const parent = join(folder, ...names.slice(0, depth));
      await mkdir(parent).catch(async () => {
        if ((await stat(parent)).isDirectory()) return;
        await rm(parent);
        await mkdir(parent);
      });
    }
    await rm(join(folder, path), { recursive: true, force: true });
    if (text !== '') await writeFile(join(folder, path), text);
  }
}

export function contentsByHash(seen: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(seen).map(([path, text]) => [path, createHash('sha256').update(text).digest('hex')]));
}

/** Writes what a call changed, as the commit of its result does. */
export async function commit(end: ToolCallEnd): Promise<ToolCallEnd> {
  if (end.type !== 'completed' || end.files === undefined) throw new Error(said(end));
  const { treeId, changes } = end.files;
  if (changes.length > 0) await store.commit({ tenantId, files: [{ treeId, runId: null, callId: 'call', changes }] });
  return end;
}
