import { readdir, readFile, readlink, stat, statfs } from 'node:fs/promises';

/** What a jail holds at one moment. */
export interface Look {
  readonly cpuMs: number;
  readonly memoryBytes: number;
  /** Files and folders in `/tmp` and `/dev/shm`, which take memory of the kernel however small they are. */
  readonly tmpFiles: number;
}

/** Processes are counted in these, whatever the kernel uses inside. */
const ticksPerSecond = 100;

const lookEveryMs = 50;
/** What takes memory is seen in time on a busy machine too, where a look takes long. */
const longestPauseMs = 250;

/** Looking takes a small part of the time where there is much to see, up to the longest pause. */
export function pauseAfter(lookMs: number): number {
  return Math.min(Math.max(lookEveryMs, 4 * lookMs), longestPauseMs);
}

/**
 * Looks at all processes of a jail through its own `/proc`, which shows no others. Null while it is being built, and when it is gone.
 *
 * @param firstPid the first process of the jail, by its number here
 * @param memoryBytes when they seem to have more, pages that several of them share are counted once, which takes longer
 * @param counts a file in memory that several of them map, to be counted by itself; or else what they share
 */
export async function lookIntoJail(firstPid: number, memoryBytes: number, counts: SharedMemory | SharedMappings): Promise<Look | null> {
  const root = `/proc/${firstPid}/root`;
  try {
    // Before it has a root of its own, this is the /proc of the machine.
    if ((await stat(`${root}/proc`)).dev === (await stat('/proc')).dev) return null;
    const pids = (await readdir(`${root}/proc`)).filter((name) => /^[0-9]+$/.test(name));
    const processes = pids.map((pid) => `${root}/proc/${pid}`);
    const ofFile = counts.type === 'file' ? await counts.bytes(processes) : null;
    // What the kernel keeps to find pages is much where few of them lie far from one another.
    let [cpuMs, anonymous, common, tables] = [0, 0, 0, 0];
    for (const process of processes) {
      cpuMs += cpuOf(await read(`${process}/stat`));
      const status = await read(`${process}/status`);
      anonymous += sumOfSizes(status, ['RssAnon']);
      common += sumOfSizes(status, ['RssShmem']);
      tables += sumOfSizes(status, ['VmPTE']);
    }
    const mapped = counts.type === 'mappings' ? await counts.bytes(processes) : 0;
    if (anonymous + common + tables > memoryBytes && ofFile === null) {
      [anonymous, common] = [0, 0];
      for (const process of processes) {
        const rollup = await read(`${process}/smaps_rollup`);
        anonymous += sumOfSizes(rollup, ['Pss_Anon']);
        common += sumOfSizes(rollup, ['Pss_Shmem']);
      }
    }
    const counted = anonymous + tables + (ofFile ?? Math.max(common, mapped));
    const [tmp, shm] = [await statfs(`${root}/tmp`), await statfs(`${root}/dev/shm`)];
    return { cpuMs, memoryBytes: counted, tmpFiles: tmp.files - tmp.ffree + (shm.files - shm.ffree) };
  } catch {
    return null;
  }
}

export interface SharedMemory {
  readonly type: 'file';
  /** Null while none of the processes has it open, or it cannot be looked at: then each process is counted with all that it maps. */
  bytes(processes: readonly string[]): Promise<number | null>;
}

/** @param name of the file, as the process said that made it */
export function createSharedMemory(name: string): SharedMemory {
  let place: string | undefined;
  const target = `/memfd:${name} (deleted)`;
  const isIt = async (path: string) => (await readlink(path).catch(() => '')) === target;
  async function find(processes: readonly string[]): Promise<string | undefined> {
    for (const process of processes)
      for (const descriptor of await readdir(`${process}/fd`).catch(() => []))
        if (await isIt(`${process}/fd/${descriptor}`)) return `${process}/fd/${descriptor}`;
    return undefined;
  }
  return {
    type: 'file',
    async bytes(processes) {
      if (place === undefined || !(await isIt(place))) place = await find(processes);
      if (place === undefined) return null;
      return stat(place).then(
        ({ blocks }) => blocks * 512,
        () => null,
      );
    },
  };
}

export interface SharedMappings {
  readonly type: 'mappings';
  bytes(processes: readonly string[]): Promise<number>;
}

/** Anonymous memory that processes share, with its place in it. */
const sharedMapping = /^([0-9a-f]+)-([0-9a-f]+) ...s ([0-9a-f]+) \S+ (\d+) +\/dev\/zero \(deleted\)$/gm;

/**
 * How large the memory is that processes share without a name. It counts as a whole: what one of them wrote stays there when it is gone, or
 * no longer looks at it, and belongs to none. What of it was seen once counts for as long as a part of it is mapped.
 */
export function createSharedMappings(): SharedMappings {
  let known = new Map<string, number>();
  return {
    type: 'mappings',
    async bytes(processes) {
      const found = new Map<string, number>();
      for (const process of processes)
        for (const [, from = '', to = '', offset = '', inode = ''] of (await read(`${process}/maps`)).matchAll(sharedMapping)) {
          const end = Number.parseInt(to, 16) - Number.parseInt(from, 16) + Number.parseInt(offset, 16);
          found.set(inode, Math.max(end, found.get(inode) ?? known.get(inode) ?? 0));
        }
      known = found;
      return [...found.values()].reduce((sum, each) => sum + each, 0);
    },
  };
}

/** Of a process that has just ended, nothing. */
async function read(path: string): Promise<string> {
  return readFile(path, 'latin1').catch(() => '');
}

/** Its own time, and that of its children which have ended. */
function cpuOf(statLine: string): number {
  // Its name may hold anything, brackets too.
  const fields = statLine.slice(statLine.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return Number.isFinite(ticks) ? (ticks * 1_000) / ticksPerSecond : 0;
}

function sumOfSizes(text: string, names: readonly string[]): number {
  return names.reduce((sum, name) => sum + Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1_024, 0);
}

/** Whether a process is no more, or only waits to be counted: then so is all that lived in its namespace. */
export async function isGone(pid: number, startedAt: string): Promise<boolean> {
  const line = await read(`/proc/${pid}/stat`);
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return line === '' || fields[0] === 'Z' || fields[0] === 'X' || fields[19] !== startedAt;
}

/** Tells a process from a later one with the same number. */
export async function startTimeOf(pid: number): Promise<string> {
  const line = await read(`/proc/${pid}/stat`);
  return line.slice(line.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

/** What the process has started and not seen end, at this moment. */
export async function childrenOf(parent: number): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const line = await read(`/proc/${name}/stat`);
    if (line.slice(line.lastIndexOf(')') + 2).split(' ')[1] === String(parent)) found.push(Number(name));
  }
  return found;
}

/** Those that have it in their command line, at this moment. */
export async function processesWith(mark: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc'))
    if (/^[0-9]+$/.test(name) && (await read(`/proc/${name}/cmdline`)).includes(mark)) found.push(Number(name));
  return found;
}
