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

/**
 * Looks at all processes of a jail through its own `/proc`, which shows no others. Null while it is being built, and when it is gone.
 *
 * @param firstPid the first process of the jail, by its number here
 * @param memoryBytes when they seem to have more, pages that several of them share are counted once, which takes longer
 * @param shared a file in memory that several of them map, to be counted by itself
 */
export async function lookIntoJail(firstPid: number, memoryBytes: number, shared?: SharedMemory): Promise<Look | null> {
  const root = `/proc/${firstPid}/root`;
  try {
    // Before it has a root of its own, this is the /proc of the machine.
    if ((await stat(`${root}/proc`)).dev === (await stat('/proc')).dev) return null;
    const pids = (await readdir(`${root}/proc`)).filter((name) => /^[0-9]+$/.test(name));
    const ofFile = (await shared?.bytes(pids.map((pid) => `${root}/proc/${pid}`))) ?? null;
    let [cpuMs, seen] = [0, ofFile ?? 0];
    for (const pid of pids) {
      cpuMs += cpuOf(await read(`${root}/proc/${pid}/stat`));
      seen += sumOfSizes(await read(`${root}/proc/${pid}/status`), ofFile === null ? ['RssAnon', 'RssShmem'] : ['RssAnon']);
    }
    let counted = seen;
    if (seen > memoryBytes && ofFile === null) {
      counted = 0;
      for (const pid of pids) counted += sumOfSizes(await read(`${root}/proc/${pid}/smaps_rollup`), ['Pss_Anon', 'Pss_Shmem']);
    }
    const [tmp, shm] = [await statfs(`${root}/tmp`), await statfs(`${root}/dev/shm`)];
    return { cpuMs, memoryBytes: counted, tmpFiles: tmp.files - tmp.ffree + (shm.files - shm.ffree) };
  } catch {
    return null;
  }
}

export interface SharedMemory {
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
