import { execFileSync } from 'node:child_process';
import { chmod, link, mkdir, readdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NexusError, systemTimers } from '../../packages/server/src/core/index.ts';
import type { BlobStore } from '../../packages/server/src/storage/index.ts';
import { said } from '../../packages/server/src/tools/testing/index.ts';

import {
  base,
  beginSession,
  beginsAnew,
  blobs,
  commit,
  contentsByHash,
  limits,
  machine,
  rework,
  sessionId,
  store,
  tenantId,
} from './session-files-work.ts';

beginsAnew();

let sessions = 1;

describe('what a tool writes', () => {
  it('is seen once it is committed, by every machine, and never before [verifies files.committed]', async () => {
    const [one, other] = [await machine('one'), await machine('other')];
    const end = await one.write('data/a.txt', 'hello');
    expect(end).toMatchObject({ type: 'completed', files: { treeId: sessionId, version: 1, changes: [{ path: 'data/a.txt' }] } });
    expect([await one.see(), await other.see()]).toEqual([{}, {}]);
    await commit(end);
    expect([await one.see(), await other.see()]).toEqual([{ 'data/a.txt': 'hello' }, { 'data/a.txt': 'hello' }]);
  });

  it('and what could not be kept is not there, though the tool went on without it [verifies files.blobs]', async () => {
    let broken = false;
    const failing: BlobStore = {
      ...blobs,
      put: (blob, read, signal) => (broken ? Promise.reject(new NexusError('storage_unavailable', 'full')) : blobs.put(blob, read, signal)),
    };
    const one = await machine('one', { blobs: failing });
    const end = await one.call(
      async (_input, { files }) => {
        await files.write('a', Buffer.from('first'));
        broken = true;
        for (const path of ['a', 'b']) await files.write(path, Buffer.from('second')).catch(() => undefined);
        return { type: 'ok', output: 'went on' };
      },
      { sharesFolder: true },
    );
    await commit(end);
    expect(await (await machine('other')).see()).toEqual({ a: 'first' });
  });

  it('in its folder is undone unless it is committed [verifies files.committed]', async () => {
    const one = await machine('one');
    await commit(await one.write('kept', '1'));
    await commit(await one.write('gone', '1'));
    const end = await one.work(async (folder) => {
      await writeFile(join(folder, 'kept'), '2');
      await mkdir(join(folder, 'new/folder'), { recursive: true });
      await writeFile(join(folder, 'new/folder/file'), 'x');
      await rm(join(folder, 'gone'));
    });
    expect(end.type === 'completed' ? end.files?.changes.map(({ path }) => path).sort() : []).toEqual(['gone', 'kept', 'new/folder/file']);
    expect(await one.see()).toEqual({ gone: '1', kept: '1' });
    await commit(end);
    expect(await one.see()).toEqual({ kept: '2', 'new/folder/file': 'x' });
    expect(await (await machine('other')).see()).toEqual({ kept: '2', 'new/folder/file': 'x' });
  });

  it.each(['throws', 'gives an error', 'is cut off'] as const)('is undone when the call %s', async (how) => {
    const one = await machine('one');
    await commit(await one.write('a', '1'));
    const end = await one.call(
      async (_input, { workspace, files, signal }) => {
        await writeFile(join(workspace, 'a'), '2');
        await files.write('b', Buffer.from('x'));
        if (how === 'throws') throw new NexusError('tool_failed', 'no');
        if (how === 'is cut off') await systemTimers.sleep(5_000, signal);
        return { type: 'error', error: { code: 'tool_failed', message: 'no', retryable: false } };
      },
      {},
      { timeoutMs: how === 'is cut off' ? 100 : 5_000 },
    );
    expect(end.type).toBe('failed');
    expect(await one.see()).toEqual({ a: '1' });
  });

  it('after nobody waits for it any more reaches no folder that is used', async () => {
    const one = await machine('one');
    await commit(await one.write('a', '1'));
    let late: Promise<unknown> = Promise.resolve();
    const end = await one.work(
      (folder) => {
        late = systemTimers.sleep(300).then(() => writeFile(join(folder, 'a'), 'late').catch(() => undefined));
        return new Promise(() => undefined);
      },
      {},
      { timeoutMs: 50 },
    );
    expect(said(end)).toMatch(/^tool_timeout/);
    expect(await one.see()).toEqual({ a: '1' });
    await late;
    expect(await one.see()).toEqual({ a: '1' });
  });

  it('is found when it looks as it did before: same size, same times', async () => {
    const one = await machine('one');
    await commit(await one.write('a', 'old'));
    await one.see();
    const end = await one.work(async (folder) => {
      await writeFile(join(folder, 'a'), 'new');
      await utimes(join(folder, 'a'), new Date(0), new Date(0));
    });
    await commit(end);
    expect(await one.see()).toEqual({ a: 'new' });
  });

  it('keeps whether it may be executed', async () => {
    const [one, other] = [await machine('one'), await machine('other')];
    await commit(
      await one.work(async (folder) => {
        await writeFile(join(folder, 'run.sh'), '#!/bin/sh\necho it runs');
        await chmod(join(folder, 'run.sh'), 0o755);
      }),
    );
    await commit(await one.write('run.sh', '#!/bin/sh\necho it still runs'));
    let printed = '';
    await other.work(async (folder) => {
      printed = execFileSync(join(folder, 'run.sh'), { encoding: 'utf8' });
    });
    expect(printed).toBe('it still runs\n');
  });

  it('that cannot be kept is removed, and the model is told [verifies tools.workspace.confined]', async () => {
    const one = await machine('one');
    const end = await one.work(async (folder) => {
      await writeFile(join(folder, 'real'), 'x');
      await symlink('/etc/passwd', join(folder, 'link'));
      await link(join(base, 'blobs', '..', 'outside'), join(folder, 'hard')).catch(() => undefined);
      await writeFile(join(folder, 'line\nbreak'), 'x');
      await mkdir(join(folder, 'empty/deeper'), { recursive: true });
    });
    expect(said(end)).toMatch(/^worked\n\[undone: .*"link".*links, special files/s);
    await commit(end);
    expect(await one.see()).toEqual({ real: 'x' });
  });

  it('without fs.write is undone, by whichever way', async () => {
    const one = await machine('one');
    await commit(await one.write('a', '1'));
    const reading = { permissions: ['fs.read'] };
    const end = await one.work((folder) => writeFile(join(folder, 'a'), '2'), reading);
    expect(said(end)).toMatch(/undone: "a"; a tool without fs.write/);
    expect(end).toMatchObject({ files: { changes: [] } });
    expect(said(await one.write('b', 'x', reading))).toMatch(/^path_not_allowed/);
    expect(await one.see()).toEqual({ a: '1' });
  });
});

describe('the folder of a session', () => {
  it('is another one in each process, and what a process that is gone left is removed in time [verifies files.takeover]', async () => {
    const one = await machine('shared');
    await commit(await one.write('a', '1'));
    await one.see();
    const [dead] = await readdir(one.root);
    await writeFile(join(one.root, dead ?? '', '1', 'leftover'), 'x');
    const next = await machine('shared');
    expect(await next.see()).toEqual({ a: '1' });
    expect(await readdir(next.root)).toHaveLength(2);
    const longAgo = new Date(Date.now() - 30 * 60_000);
    await utimes(join(one.root, dead ?? '', '.alive'), longAgo, longAgo);
    await machine('shared');
    await expect.poll(() => readdir(next.root).then((names) => names.includes(dead ?? ''))).toBe(false);
    // One that was only stopped makes what it needs again.
    expect(await one.see()).toEqual({ a: '1' });
  });

  it('is removed when nobody used it for long, and made again', async () => {
    const one = await machine('one', { idleMs: 1 });
    await commit(await one.write('a', '1'));
    expect(await one.see()).toEqual({ a: '1' });
    const [own] = await readdir(one.root);
    await expect.poll(() => readdir(join(one.root, own ?? '')), { timeout: 5_000 }).toEqual(['.alive']);
    expect(await one.see()).toEqual({ a: '1' });
  });

  it('follows files that become folders and folders that become files', async () => {
    const [one, other] = [await machine('one'), await machine('other')];
    await commit(await one.write('x', 'file'));
    await other.see();
    await commit(
      await one.work(async (folder) => {
        await rm(join(folder, 'x'));
        await mkdir(join(folder, 'x/y'), { recursive: true });
        await writeFile(join(folder, 'x/y/z'), 'deep');
      }),
    );
    expect(await other.see()).toEqual({ 'x/y/z': 'deep' });
    await commit(
      await one.work(async (folder) => {
        await rename(join(folder, 'x'), join(folder, 'moved'));
        await writeFile(join(folder, 'x'), 'file again');
      }),
    );
    expect(await other.see()).toEqual({ x: 'file again', 'moved/y/z': 'deep' });
  });

  it('holds what is committed, whatever tools did before on whichever machine', async () => {
    const path = fc.constantFrom('a', 'b', 'a/b', 'a/c', 'a/b/c', 'b/a');
    const action = fc.record({
      by: fc.integer({ min: 0, max: 1 }),
      how: fc.constantFrom('folder', 'files'),
      committed: fc.boolean(),
      changes: fc.array(fc.record({ path, text: fc.constantFrom('1', '2', '') }), { minLength: 1, maxLength: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 2, maxLength: 7 }), async (actions) => {
        sessions += 1;
        const session = `ses_${sessions}`;
        await beginSession(session);
        const of = { sessionId: session, filesOf: session };
        const machines = [await machine(`x${sessions}`), await machine(`y${sessions}`)] as const;
        for (const { by, how, committed, changes } of actions) {
          const actor = machines[by as 0 | 1]; // as generated
          const end =
            how === 'folder'
              ? await actor.work((folder) => rework(folder, changes), {}, of)
              : await actor.call(
                  async (_input, { files }) => {
                    for (const { path: each, text } of changes) await files.write(each, Buffer.from(text)).catch(() => undefined);
                    return { type: 'ok', output: '' };
                  },
                  { sharesFolder: true },
                  of,
                );
          if (committed) await commit(end);
          const version = (await store.getFileTree(tenantId, session))?.version ?? 0;
          const { items } = await store.listFiles(tenantId, session, { after: 0, version }, { limit: 100 });
          const held = Object.fromEntries(items.map((item) => [item.path, item.bytes]));
          for (const each of machines) {
            const seen = await each.see(session);
            expect(Object.fromEntries(Object.entries(seen).map(([name, text]) => [name, text.length]))).toEqual(held);
            expect(contentsByHash(seen)).toEqual(Object.fromEntries(items.map((item) => [item.path, item.sha256])));
          }
        }
      }),
      { numRuns: 25 },
    );
  }, 60_000);

  it('is used by a tool that works in it alone, while those that share it go together', async () => {
    const one = await machine('one');
    const log: string[] = [];
    const inside = (name: string, ms: number) => async () => {
      log.push(`+${name}`);
      await systemTimers.sleep(ms);
      log.push(`-${name}`);
    };
    const shared = { sharesFolder: true, permissions: ['fs.read'] } as const;
    await Promise.all([
      one.work(inside('r1', 60), shared),
      one.work(inside('r2', 60), shared),
      one.work(inside('alone', 20)),
      one.work(inside('r3', 10), shared),
    ]);
    expect(log.slice(0, 2).sort()).toEqual(['+r1', '+r2']);
    expect(log.slice(4)).toEqual(['+alone', '-alone', '+r3', '-r3']);
  });

  it('does not keep a call waiting that is told to stop', async () => {
    const one = await machine('one');
    const long = one.work(() => systemTimers.sleep(400));
    await systemTimers.sleep(50);
    const end = await one.work(async () => undefined, {}, { timeoutMs: 50 });
    expect(said(end)).toMatch(/^tool_timeout/);
    await long;
    expect(said(await one.work(async () => undefined))).toBe('worked');
  });

  it('that cannot be brought here fails the call, says why, and is brought by a later one [verifies files.blobs]', async () => {
    const one = await machine('one');
    await commit(await one.write('a', '1'));
    await commit(await one.write('b', '2'));
    let broken = true;
    const failing: BlobStore = {
      ...blobs,
      get: (blob, signal) => {
        if (broken && blob.bytes > 0) throw new NexusError('storage_unavailable', 'the bucket does not answer');
        return blobs.get(blob, signal);
      },
    };
    const other = await machine('other', { blobs: failing });
    await expect(other.see()).rejects.toThrow(/^storage_unavailable: .*bucket does not answer/);
    broken = false;
    expect(await other.see()).toEqual({ a: '1', b: '2' });
    await rm(join(base, 'blobs', tenantId), { recursive: true });
    const third = await machine('third');
    await expect(third.see()).rejects.toThrow(/^storage_unavailable: the files of the session cannot be brought here/);
  });

  it('that is too large for one call to be brought here is brought by several', async () => {
    const one = await machine('one');
    for (let index = 0; index < 30; index++) await commit(await one.write(`f${index}`, `content ${index}`));
    const slow: BlobStore = {
      ...blobs,
      async *get(blob, signal) {
        await systemTimers.sleep(150, signal);
        yield* blobs.get(blob, signal);
      },
    };
    const other = await machine('other', { blobs: slow });
    const attempts: string[] = [];
    while (attempts.at(-1) !== 'worked' && attempts.length < 60) {
      const end = await other.work(async () => undefined, { sharesFolder: true }, { timeoutMs: 400 });
      attempts.push(end.type === 'completed' ? end.output : end.type === 'failed' ? end.error.code : end.type);
      // It goes on with what has come meanwhile, and without what has gone.
      if (attempts.length === 1)
        await commit(await one.work((folder) => Promise.all([rm(join(folder, 'f0')), writeFile(join(folder, 'new'), 'x')])));
    }
    expect(attempts.length).toBeGreaterThan(1);
    expect(attempts.at(-1)).toBe('worked');
    expect(await other.see()).toEqual(await one.see());
    expect(Object.keys(await other.see())).toHaveLength(30);
  }, 60_000);

  it('begins with the seed, whichever machine is first, and with the same for all [verifies files.committed]', async () => {
    const seed = join(base, 'seed');
    await mkdir(join(seed, 'docs/empty'), { recursive: true });
    await writeFile(join(seed, 'docs/a.md'), 'a'.repeat(40_000));
    await symlink('/etc/passwd', join(seed, 'passwd'));
    const one = await machine('one', { seedOf: async () => seed });
    const other = await machine('other', { seedOf: async () => join(base, 'another') });
    expect(Object.keys(await one.see())).toEqual(['docs/a.md']);
    await writeFile(join(seed, 'docs/a.md'), 'changed later');
    expect((await other.see())['docs/a.md']).toHaveLength(40_000);
    const small = { ...limits, maxSeedBytes: 10 };
    const refused = await machine('small', { seedOf: async () => seed, limits: small });
    expect(await refused.see()).toHaveProperty(['docs/a.md']); // it is there by now
    await expect(refused.see('run_fork')).rejects.toThrow(/^payload_too_large: the seed/);
  });

  it('of a fork is its own', async () => {
    const one = await machine('one');
    await commit(await one.write('a', 'session'));
    await store.beginFileTree(tenantId, { treeId: 'run_fork', sessionId }, []);
    expect(await one.see('run_fork')).toEqual({});
    expect(await one.see()).toEqual({ a: 'session' });
  });
});
