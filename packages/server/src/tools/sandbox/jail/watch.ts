import { readdir, readFile, stat, statfs } from 'node:fs/promises';

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
 */
export async function lookIntoJail(firstPid: number, memoryBytes: number): Promise<Look | null> {
  const root = `/proc/${firstPid}/root`;
  try {
    // Before it has a root of its own, this is the /proc of the machine.
    if ((await stat(`${root}/proc`)).dev === (await stat('/proc')).dev) return null;
    const pids = (await readdir(`${root}/proc`)).filter((name) => /^[0-9]+$/.test(name));
    let [cpuMs, seen] = [0, 0];
    for (const pid of pids) {
      cpuMs += cpuOf(await read(`${root}/proc/${pid}/stat`));
      seen += sumOfSizes(await read(`${root}/proc/${pid}/status`), ['RssAnon', 'RssShmem']);
    }
    let counted = seen;
    if (seen > memoryBytes) {
      counted = 0;
      for (const pid of pids) counted += sumOfSizes(await read(`${root}/proc/${pid}/smaps_rollup`), ['Pss_Anon', 'Pss_Shmem']);
    }
    const [tmp, shm] = [await statfs(`${root}/tmp`), await statfs(`${root}/dev/shm`)];
    return { cpuMs, memoryBytes: counted, tmpFiles: tmp.files - tmp.ffree + (shm.files - shm.ffree) };
  } catch {
    return null;
  }
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
