import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKeptLog } from '#apps/testing';
import { createIdSource, NexusError, systemClock, systemTimers } from '#core';
import { createManualTime } from '#core/testing';
import { ledgerRules } from '#ledger';
import type { DefinitionFile, Store } from '#storage';
import { openStore } from '#storage/drivers';
import { type DefinitionFolder, FollowedDefinitions, type FollowedOptions } from './followed-definitions.ts';
import { patientFolder } from './patient-folder.ts';

let store: Store;
beforeEach(async () => {
  const ids = createIdSource(systemClock);
  store = await openStore({ url: 'sqlite::memory:', ledgerRules, clock: systemClock, timers: systemTimers, ids });
});
afterEach(() => store.close());

/** A folder in memory: `put` replaces what it holds. */
function folderOf(name: string, text?: string) {
  let files: readonly DefinitionFile[] = [];
  let mark = 0;
  let reads = 0;
  let whileReading: (() => void) | undefined;
  const put = (...texts: string[]) => {
    files = texts.map((each, index) => ({ name: `${index}.x`, text: each }));
    mark += 1;
  };
  if (text !== undefined) put(text);
  const folder: DefinitionFolder = {
    path: `/${name}`,
    mark: async () => String(mark),
    async read() {
      reads += 1;
      const content = { files, unread: [] };
      whileReading?.();
      whileReading = undefined;
      if (files.some((file) => file.text === 'unreadable')) throw new NexusError('config_invalid', 'it cannot be read');
      return content;
    },
  };
  return {
    folder,
    put,
    touch: () => {
      mark += 1;
    },
    onRead: (work: () => void) => {
      whileReading = work;
    },
    get reads() {
      return reads;
    },
  };
}

type TestFolder = ReturnType<typeof folderOf>;

/** A node whose definitions are texts; `broken` ones cannot be used, and `newer` ones not by every program. */
async function node(source: TestFolder, options: Partial<FollowedOptions> & { readonly old?: boolean } = {}) {
  const { logger, lines } = createKeptLog();
  const decides = { by: 'nothing' };
  const set = new FollowedDefinitions({
    kind: 'policies',
    folder: source.folder,
    prepare: async (files) => {
      const text = files.map((file) => file.text).join('+');
      if (text.includes('broken')) throw new NexusError('invalid_request', 'it is broken');
      if (text.includes('newer') && options.old === true) throw new Error('unknown action');
      return {
        use() {
          decides.by = text;
        },
      };
    },
    store,
    clock: systemClock,
    timers: { sleep: async () => undefined },
    logger,
    importing: 'auto',
    machine: source.folder.path.slice(1),
    alone: false,
    ...options,
  });
  await set.open(await head());
  return {
    set,
    lines,
    by: () => decides.by,
    says: (message: RegExp) => lines.filter((line) => message.test(line.message)),
    /** Two looks at the folder, and one at the database. */
    async look() {
      await set.scan();
      await set.scan();
      const active = await head();
      if (active !== null) await set.follow(active);
    },
  };
}

const head = async () => (await store.definitionHeads()).find(({ kind }) => kind === 'policies') ?? null;
const version = async () => (await head())?.version;

describe('a node that starts', () => {
  it('imports what its folder holds, and decides by it [verifies nodes.definitions.order]', async () => {
    const a = await node(folderOf('a', 'one'));
    expect([a.by(), await version()]).toEqual(['one', 1]);
    expect(a.set.view()).toMatchObject({ active: { version: 1, origin: 'a:/a' }, inUse: 1, folder: { state: 'active', version: 1 } });
  });

  it('without a folder decides by what others have imported', async () => {
    await node(folderOf('a', 'one'));
    const b = await node(folderOf('b'));
    expect(b.by()).toBe('one');
    expect(b.set.view()).toMatchObject({ inUse: 1, folder: { state: 'none' } });
  });

  it('with new files imports them, and with an earlier version does not, and says so [verifies nodes.definitions.order]', async () => {
    await node(folderOf('old', 'one'));
    await node(folderOf('new', 'two'));
    const restarted = await node(folderOf('old', 'one'));
    expect([restarted.by(), await version()]).toEqual(['two', 2]);
    expect(restarted.set.view()).toMatchObject({ inUse: 2, folder: { state: 'earlier', version: 1 } });
    expect(restarted.says(/differs/)).toMatchObject([{ level: 'warn', fields: { holds: 'version 1', active: 2, from: 'new:/new' } }]);
  });

  it('that only looks leaves what decides as it is, unless that came from its own folder or there is nothing [verifies nodes.definitions.look]', async () => {
    const own = folderOf('a', 'one');
    expect((await node(own, { importing: 'own' })).by()).toBe('one');
    const other = await node(folderOf('other', 'two'), { importing: 'own' });
    expect([other.by(), await version()]).toEqual(['one', 1]);
    expect(other.set.view()).toMatchObject({ inUse: 1, folder: { state: 'never-imported' } });
    own.put('three');
    expect((await node(own, { importing: 'own' })).by()).toBe('three');
  });

  it('imports what its folder holds now, whatever that is, where the active version came from it and no other machine is there', async () => {
    const source = folderOf('a', 'one');
    await node(source, { alone: true });
    await node(folderOf('other', 'two'), { alone: true });
    expect((await node(source, { alone: true })).by()).toBe('two');
    source.put('three');
    await node(source, { alone: true });
    source.put('one');
    expect([(await node(source, { alone: true })).by(), await version()]).toEqual(['one', 4]);
    source.put('three');
    expect([(await node(source)).by(), await version()]).toEqual(['one', 4]);
  });

  it('does not start with files that cannot be used, or with an active version that cannot', async () => {
    await expect(node(folderOf('a', 'broken'))).rejects.toThrow('it is broken');
    expect(await version()).toBeUndefined();
    await node(folderOf('b', 'newer'));
    await expect(node(folderOf('c'), { old: true })).rejects.toThrow(
      'version 1 of the policies, imported from b:/b, cannot be used: unknown action',
    );
  });

  it('imports nothing by itself where that is to be asked for', async () => {
    await node(folderOf('a', 'one'));
    const b = await node(folderOf('b', 'two'), { importing: 'manual' });
    expect([b.by(), b.set.folderState, await version()]).toEqual(['one', 'never-imported', 1]);
    await b.set.import({ allowEmpty: false });
    expect([b.by(), b.set.folderState, await version()]).toEqual(['two', 'active', 2]);
  });
});

describe('a change of the folder', () => {
  it('is imported once the folder rests [verifies nodes.definitions.follow]', async () => {
    const source = folderOf('a', 'one');
    const a = await node(source);
    source.put('two');
    await a.set.scan();
    source.put('two', 'three');
    await a.set.scan();
    expect(await version()).toBe(1);
    await a.set.scan();
    expect([a.by(), await version()]).toEqual(['two+three', 2]);
  });

  it('that does not change the files is read, and changes nothing', async () => {
    const source = folderOf('a', 'one');
    const a = await node(source);
    const before = source.reads;
    await a.look();
    expect(source.reads).toBe(before);
    source.touch();
    await a.look();
    expect([source.reads, await version(), a.lines.filter(({ level }) => level !== 'info')]).toEqual([before + 1, 1, []]);
  });

  it('is never read half: what changes meanwhile is read again', async () => {
    const source = folderOf('a', 'one');
    const a = await node(source);
    source.put('half');
    source.onRead(() => source.put('whole'));
    await a.look();
    expect([a.by(), await version()]).toEqual(['whole', 2]);
  });

  it('of the active version counts, also when it goes back to an earlier one', async () => {
    const source = folderOf('a', 'one');
    const a = await node(source);
    source.put('two');
    await a.look();
    source.put('one');
    await a.look();
    expect([a.by(), await version()]).toEqual(['one', 3]);
  });

  it('of a folder that had fallen behind does not bring an earlier version back', async () => {
    const source = folderOf('a', 'one');
    const a = await node(source);
    source.put('two');
    await a.look();
    await node(folderOf('b', 'three'));
    await a.look();
    expect([a.by(), a.set.folderState]).toEqual(['three', 'earlier']);
    source.put('one');
    await a.look();
    expect([a.by(), await version()]).toEqual(['three', 3]);
    // What nobody has seen before is new wherever it comes from.
    source.put('four');
    await a.look();
    expect([a.by(), await version()]).toEqual(['four', 4]);
  });

  it.each(['broken', 'unreadable'])(
    'to files that are %s changes nothing, and is said once [verifies nodes.definitions.broken]',
    async (text) => {
      const source = folderOf('a', 'one');
      const a = await node(source);
      source.put('two', text);
      await a.look();
      await a.look();
      expect([a.by(), await version()]).toEqual(['one', 1]);
      expect(a.set.view()).toMatchObject({ inUse: 1, folder: { state: 'broken', fault: expect.stringMatching(/^it (is|cannot)/) } });
      expect(a.says(/cannot be used; the ones in use stay/)).toHaveLength(1);
      await expect(a.set.import({ allowEmpty: false })).rejects.toMatchObject({ code: 'conflict' });
      source.put('two');
      await a.look();
      expect([a.by(), a.set.folderState]).toEqual(['two', 'active']);
    },
  );

  it('that cannot be seen, as the folder does not answer, changes nothing and holds nothing up', async () => {
    const time = createManualTime();
    const source = folderOf('a', 'one');
    let answer: (() => void) | undefined;
    const asked = { times: 0, silent: false };
    const mark = async () => {
      asked.times += 1;
      if (asked.silent) await new Promise<void>((resolve) => (answer = resolve));
      return source.folder.mark();
    };
    const a = await node(source, { folder: patientFolder({ ...source.folder, mark }, time.timers) });
    source.put('two');
    asked.silent = true;
    const looking = a.set.scan();
    await time.advance(5_000);
    await looking;
    const before = asked.times;
    await a.look();
    expect([a.by(), a.set.folderState, asked.times]).toEqual(['one', 'broken', before]);
    expect(a.set.view().folder.fault).toBe('/a does not answer; see to the file system that it lies on');
    asked.silent = false;
    answer?.();
    await time.advance(0);
    await a.look();
    expect([a.by(), a.set.folderState, time.pending]).toEqual(['two', 'active', 0]);
  });

  it('to nothing changes nothing, unless that is said', async () => {
    const source = folderOf('a', 'one');
    const a = await node(source);
    source.put();
    await a.look();
    expect([a.by(), await version(), a.set.folderState]).toEqual(['one', 1, 'none']);
    await expect(a.set.import({ allowEmpty: false })).rejects.toThrow('/a holds no policies; to have none, say so: --allow-empty');
    await a.set.import({ allowEmpty: true });
    source.touch();
    await a.look();
    expect([a.by(), await version(), a.set.folderState]).toEqual(['', 2, 'active']);
  });

  it('is offered again when the database did not take it', async () => {
    const source = folderOf('a', 'one');
    let failures = 1;
    const importDefinitions: Store['importDefinitions'] = async (request) => {
      if (request.files[0]?.text === 'two' && failures-- > 0) throw new NexusError('storage_unavailable', 'not now');
      return store.importDefinitions(request);
    };
    const a = await node(source, { store: { ...store, importDefinitions } });
    source.put('two');
    await a.set.scan();
    await expect(a.set.scan()).rejects.toThrow('not now');
    expect([a.by(), a.set.folderState]).toEqual(['one', 'active']);
    await a.set.scan();
    expect(a.by()).toBe('two');
  });
});

describe('a version of another node', () => {
  it('is followed', async () => {
    const a = await node(folderOf('a', 'one'));
    await node(folderOf('b', 'two'));
    await a.look();
    expect([a.by(), a.set.inUse]).toEqual(['two', 2]);
    expect(a.says(/are in use/)).toMatchObject([{ fields: { version: 2, from: 'b:/b' } }]);
  });

  it('that this program cannot use leaves the one in use, and is told until a usable one comes', async () => {
    const a = await node(folderOf('a', 'one'), { old: true });
    await node(folderOf('b', 'newer'));
    await a.look();
    await a.look();
    expect([a.by(), a.set.inUse, a.set.fault]).toEqual(['one', 1, 'unknown action']);
    expect(a.says(/cannot be used by this node/)).toHaveLength(1);
    await node(folderOf('c', 'three'));
    await a.look();
    expect([a.by(), a.set.inUse, a.set.fault]).toEqual(['three', 3, undefined]);
  });
});
