import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SessionId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createKeptBlobs, openFolderBlobs } from '../../packages/server/src/storage/blobs/index.ts';
import type { Store } from '../../packages/server/src/storage/index.ts';
import {
  createWorkspaces,
  openSessionFiles,
  type SessionFiles,
  type ToolCallEnd,
  type ToolContext,
} from '../../packages/server/src/tools/index.ts';
import { createTestToolService, makeTool, makeToolCall, readCall, said } from '../../packages/server/src/tools/testing/index.ts';
import { newTenant, postgresSubject, type StoreSubject, sessionRow, sqliteSubject } from '../support/stores.ts';

const limits = { maxFiles: 12, maxBytes: 2_000, maxFileBytes: 500, maxChanged: 8, maxSeedFiles: 10, maxSeedBytes: 100 };

/** What tools move, delete and write under a condition, on one database. */
function describeOn(subject: StoreSubject): void {
  describe(`changes of session files: ${subject.name}`, () => {
    let store: Store;
    let base: string;
    let files: SessionFiles;
    let tenantId: ReturnType<typeof newTenant>;
    let sessionId: SessionId;
    let calls = 0;

    beforeAll(async () => {
      store = await subject.open();
    });
    afterAll(async () => {
      await store.close();
      await subject.close();
    });
    beforeEach(async () => {
      base = await mkdtemp(join(tmpdir(), 'nexus-file-changes-'));
      tenantId = newTenant();
      await begin();
      const blobs = createKeptBlobs({
        ...{ driver: await openFolderBlobs(join(base, 'blobs')), store, clock: systemClock, timers: systemTimers, keepMs: 86_400_000 },
      });
      files = await openSessionFiles({
        ...{ name: randomUUID(), root: join(base, 'folders'), store, blobs, workspaces: createWorkspaces(), limits, idleMs: 600_000 },
        ...{ clock: systemClock, timers: systemTimers, seedOf: async () => undefined, onError: () => undefined },
      });
    });
    afterEach(async () => {
      await files.close();
      await rm(base, { recursive: true, force: true });
    });

    async function begin(): Promise<void> {
      sessionId = `ses_${randomUUID()}` as SessionId; // shaped as one
      await store.commit({ tenantId, sessions: [sessionRow(tenantId, { sessionId })] });
    }

    /** A call that has ended, with what it changed not committed yet. */
    async function run(
      work: (files: ToolContext['files'], signal: AbortSignal) => Promise<unknown>,
      mayWrite = true,
    ): Promise<ToolCallEnd> {
      calls += 1;
      const tool = makeTool({
        permissions: mayWrite ? ['fs.read', 'fs.write'] : ['fs.read'],
        sharesFolder: true,
        async execute(_input, context) {
          await work(context.files, context.signal);
          return { type: 'ok', output: '' };
        },
      });
      const service = createTestToolService([tool], { folders: files });
      return readCall(service, makeToolCall({ tenantId, sessionId, callId: `call_${calls}` }));
    }

    async function commit(end: ToolCallEnd): Promise<void> {
      if (end.type !== 'completed' || end.files === undefined) throw new Error(said(end));
      const { treeId, changes } = end.files;
      if (changes.length > 0) await store.commit({ tenantId, files: [{ treeId, runId: null, callId: `call_${calls}`, changes }] });
    }

    const bytes = (text: string) => Buffer.from(text);
    const write = async (path: string, text: string) => commit(await run((changed, signal) => changed.write(path, bytes(text), signal)));

    async function seen(): Promise<Record<string, string>> {
      const found: Record<string, string> = {};
      const workspaces = createWorkspaces();
      const tool = makeTool({
        permissions: ['fs.read'],
        sharesFolder: true,
        async execute(_input, { workspace }) {
          for await (const item of workspaces.walk(workspace, '', { recursive: true }))
            if (item.type === 'file') found[item.path] = await item.use(({ handle }) => handle.readFile('utf8'));
          return { type: 'ok', output: '' };
        },
      });
      const end = await readCall(createTestToolService([tool], { folders: files }), makeToolCall({ tenantId, sessionId }));
      if (end.type !== 'completed') throw new Error(said(end));
      const { items } = await store.listFiles(tenantId, sessionId, { after: 0, version: end.files?.version ?? 0 }, { limit: 100 });
      expect(items.map(({ path }) => path).sort()).toEqual(Object.keys(found).sort());
      return found;
    }

    it('moves and deletes are committed with the result, and never before [verifies tools.files.moved]', async () => {
      await write('a/one', '1');
      await write('two', '2');
      const end = await run(async (changed) => {
        await changed.move('a/one', 'b/uno', { replace: false });
        await changed.remove('two');
      });
      expect(await seen()).toEqual({ 'a/one': '1', two: '2' });
      await commit(end);
      expect(await seen()).toEqual({ 'b/uno': '1' });
      // Where a file was there may be a folder, and the other way round.
      await commit(await run((changed) => changed.move('b/uno', 'a', { replace: false })));
      await commit(await run((changed) => changed.move('a', 'b/uno/deep', { replace: false })));
      expect(await seen()).toEqual({ 'b/uno/deep': '1' });
    });

    it('what one call does to a path comes in the order in which it is asked for', async () => {
      await write('a', '1');
      await commit(
        await run(async (changed) => {
          await changed.move('a', 'b', { replace: false });
          await expect(changed.remove('a')).rejects.toMatchObject({ code: 'not_found' });
          await changed.move('b', 'c', { replace: false });
          await changed.write('a', bytes('new'));
          await expect(changed.move('c', 'a', { replace: false })).rejects.toMatchObject({ code: 'conflict' });
          await changed.move('c', 'a', { replace: true });
          await changed.write('d', bytes('gone'));
          await changed.remove('d');
        }),
      );
      expect(await seen()).toEqual({ a: '1' });
    });

    it('changes nothing that is not there, may not be changed, or is in the way [verifies tools.files.moved]', async () => {
      await write('a', '1');
      await write('b', '2');
      const refused = async (work: Parameters<typeof run>[0], mayWrite = true) => said(await run(work, mayWrite));
      expect(await refused((changed) => changed.remove('none'))).toMatch(/^not_found/);
      expect(await refused((changed) => changed.move('none', 'x', { replace: false }))).toMatch(/^not_found/);
      expect(await refused((changed) => changed.move('a', 'b', { replace: false }))).toMatch(/^conflict/);
      expect(await refused((changed) => changed.move('a', 'a/b', { replace: false }))).toMatch(/^tool_input_invalid/);
      expect(await refused((changed) => changed.move('a', '../b', { replace: true }))).toMatch(/^path_not_allowed/);
      expect(await refused((changed) => changed.move('a', `x/${'y'.repeat(200)}/`.repeat(20), { replace: true }))).toMatch(
        /^path_not_allowed/,
      );
      expect(await refused((changed) => changed.remove('a'), false)).toMatch(/^path_not_allowed/);
      expect(await refused((changed) => changed.move('a', 'x', { replace: true }), false)).toMatch(/^path_not_allowed/);
      expect(await seen()).toEqual({ a: '1', b: '2' });
    });

    it('a full session has room for what moves, and for what comes where something goes [verifies tools.files.moved]', async () => {
      for (let index = 0; index < limits.maxFiles; index++) await write(`f${index}`, 'x'.repeat(150));
      expect(said(await run((changed) => changed.write('more', bytes('x'))))).toMatch(/^payload_too_large/);
      await commit(await run((changed) => changed.move('f0', 'folder/f0', { replace: false })));
      await commit(
        await run(async (changed) => {
          await changed.remove('f1');
          await changed.write('more', bytes('x'));
        }),
      );
      const many = run(async (changed) => {
        for (let index = 2; index < 2 + limits.maxChanged; index++) await changed.move(`f${index}`, `g${index}`, { replace: false });
      });
      expect(said(await many)).toMatch(/^payload_too_large: one call may change 8 files/);
      const left = await seen();
      expect([Object.keys(left).length, left['folder/f0']?.length, left.more]).toEqual([limits.maxFiles, 150, 'x']);
    });

    it('a change of what another call changes meanwhile is a conflict, and undoes nothing [verifies tools.files.edit]', async () => {
      const hash = async (path: string) => (await store.getFile(tenantId, sessionId, path, 1_000))?.sha256 ?? null;
      await write('a', 'one');
      const before = await hash('a');
      const change = (text: string, replaces: string | null) =>
        run((changed, signal) => changed.write('a', bytes(text), signal, { replaces }));
      // Of two calls side by side the second hears of the first, before and after it is committed.
      let first: ToolCallEnd | undefined;
      const second = await run(async (changed, signal) => {
        first = await change('first', before);
        await expect(changed.write('a', bytes('second'), signal, { replaces: before })).rejects.toMatchObject({ code: 'conflict' });
        if (first !== undefined) await commit(first);
        await expect(changed.write('a', bytes('second'), signal, { replaces: before })).rejects.toMatchObject({ code: 'conflict' });
        await expect(changed.move('a', 'b', { replace: false })).rejects.toMatchObject({ code: 'conflict' });
      });
      expect(second).toMatchObject({ type: 'completed', files: { changes: [] } });
      expect(await seen()).toEqual({ a: 'first' });
      await commit(await change('third', await hash('a')));
      expect(said(await change('fourth', before))).toMatch(/^conflict/);
      expect(said(await change('fifth', null))).toMatch(/^conflict: there is a file at "a" already/);
      expect(await seen()).toEqual({ a: 'third' });
    });

    it('a file that a call made and removed again holds nobody up, and is no change [verifies tools.files.moved]', async () => {
      await begin();
      const made = await run(async (changed) => {
        await changed.write('b', bytes('1'));
        await changed.move('b', 'c', { replace: false });
        await changed.remove('c');
      });
      expect(made).toMatchObject({ type: 'completed', files: { changes: [] } });
      await commit(made);
      await commit(
        await run(async (changed) => {
          await changed.write('b', bytes('2'));
          await changed.move('b', 'c', { replace: false });
        }),
      );
      expect(await seen()).toEqual({ c: '2' });
    });

    it('leaves what a model of the files says, whatever is asked for [verifies tools.files.moved]', async () => {
      const path = fc.constantFrom('a', 'b', 'c', 'd/e', 'd/f');
      const step = fc.oneof(
        fc.record({ type: fc.constant('write' as const), path, text: fc.constantFrom('', '1', '22') }),
        fc.record({ type: fc.constant('remove' as const), path }),
        fc.record({ type: fc.constant('move' as const), path, to: path, replace: fc.boolean() }),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(step, { maxLength: 4 }), { maxLength: 5 }), async (steps) => {
          await begin();
          const model = new Map<string, string>();
          for (const together of steps) {
            const end = await run(async (changed) => {
              for (const each of together) {
                const there = model.get(each.path);
                if (each.type === 'write') {
                  await changed.write(each.path, bytes(each.text));
                  model.set(each.path, each.text);
                } else if (each.type === 'remove') {
                  const done = await outcomeOf(changed.remove(each.path));
                  expect(done === 'done', done).toBe(there !== undefined);
                  model.delete(each.path);
                } else {
                  const done = await outcomeOf(changed.move(each.path, each.to, { replace: each.replace }));
                  const isPossible = there !== undefined && each.path !== each.to && (each.replace || !model.has(each.to));
                  expect(done === 'done', done).toBe(isPossible);
                  if (done !== 'done' || there === undefined) continue;
                  model.delete(each.path);
                  model.set(each.to, there);
                }
              }
            });
            await commit(end);
            expect(await seen()).toEqual(Object.fromEntries(model));
          }
        }),
        { numRuns: 15 },
      );
    });
  });
}

/** That it went well, or why not. */
function outcomeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => String(error),
  );
}

describeOn(sqliteSubject());
const postgres = await postgresSubject();
if ('reason' in postgres) describe('changes of session files: postgres', () => it.skip(`not run: ${postgres.reason}`));
else describeOn(postgres);
