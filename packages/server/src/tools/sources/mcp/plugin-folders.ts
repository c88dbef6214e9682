import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { NexusError } from '#core';
import type { OwnFolder } from '#tools/files';

/** The files of a plugin on this machine, for as long as somebody holds them. */
export interface UnpackedPlugin {
  readonly path: string;
  /** With the last one they are removed. */
  release(): Promise<void>;
}

export interface PluginFolders {
  /** Unpacks the files of what this digest names, or gives those that are there. Throws `unavailable` where they cannot be written. */
  hold(digest: string, files: ReadonlyMap<string, Uint8Array>, executable: string | null): Promise<UnpackedPlugin>;
  /** Removes all of them. */
  close(): Promise<void>;
}

interface Entry {
  users: number;
  readonly unpacked: Promise<void>;
}

/** Folders of plugins, each named by what is in it, so that two of one name never meet, in a folder of this process alone. */
export function createPluginFolders(open: () => Promise<OwnFolder>): PluginFolders {
  const entries = new Map<string, Entry>();
  /** What is being removed of a digest: it comes again only afterwards. */
  const removals = new Map<string, Promise<void>>();
  let own: Promise<OwnFolder> | undefined;

  async function root(): Promise<string> {
    own ??= open();
    own.catch(() => {
      own = undefined; // the next one tries again
    });
    return (await own).path;
  }

  async function unpack(digest: string, files: ReadonlyMap<string, Uint8Array>, executable: string | null): Promise<void> {
    await removals.get(digest);
    const place = await root();
    const half = join(place, `${digest}.half`);
    await rm(half, { recursive: true, force: true });
    await mkdir(half, { mode: 0o755 });
    for (const [name, content] of files) {
      const path = join(half, name);
      // Its user inside is another one; the folder of this process is closed to all others.
      await mkdir(dirname(path), { recursive: true, mode: 0o755 });
      await writeFile(path, content, { flag: 'wx' });
      await chmod(path, name === executable ? 0o555 : 0o444);
    }
    await rm(join(place, digest), { recursive: true, force: true }); // what could not be removed before
    await rename(half, join(place, digest));
  }

  async function release(digest: string, entry: Entry): Promise<void> {
    entry.users -= 1;
    if (entry.users > 0) return;
    entries.delete(digest);
    const removal = root()
      .then((place) => rm(join(place, digest), { recursive: true, force: true }))
      .catch(() => undefined) // it goes with the folder of the process
      .finally(() => removals.get(digest) === removal && removals.delete(digest));
    removals.set(digest, removal);
    await removal;
  }

  return {
    async hold(digest, files, executable) {
      let entry = entries.get(digest);
      if (entry === undefined) {
        entry = { users: 0, unpacked: unpack(digest, files, executable) };
        entries.set(digest, entry);
      }
      const held = entry;
      held.users += 1;
      try {
        await held.unpacked;
      } catch (error) {
        await release(digest, held);
        throw new NexusError('unavailable', 'the files of the plugin cannot be written to the data folder of this process', {
          cause: error,
        });
      }
      let isHeld = true;
      return {
        path: join(await root(), digest),
        async release() {
          if (!isHeld) return;
          isHeld = false;
          await release(digest, held);
        },
      };
    },
    async close() {
      const opened = await own?.catch(() => undefined);
      await opened?.close();
    },
  };
}
