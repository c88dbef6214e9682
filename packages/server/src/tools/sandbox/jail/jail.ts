import { existsSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { arch, platform } from 'node:process';
import { type Clock, NexusError, type Timers } from '#core';
import { limitExceeded } from '../limit-error.ts';
import { startJailChild } from './child.ts';
import { type FolderLimit, handOver, tidyFolder } from './folder.ts';
import { createJailGuard } from './guard.ts';
import { faultCode, faultWords, findRunsc, type GvisorKernel, kernelBytes, memoryFile, platforms } from './gvisor.ts';
import { firstOutput, type JailOutput, lastErrors } from './output.ts';
import { planJail } from './plan.ts';
import { type JailRun, superviseRun } from './run.ts';
import { systemCallFilter } from './seccomp.ts';
import type { Defence, Jail, JailDriver, JailEnd, JailLimits, JailRequest } from './types.ts';

export interface JailOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Timers;
  /** An absolute path; where it usually lies when left out. */
  readonly bubblewrap?: string | undefined;
  readonly driver?: JailDriver;
  /** Of gVisor: an absolute path; where it usually lies when left out. */
  readonly runsc?: string | undefined;
  /** Who jailed programs are for this machine where the server is root; nobody when left out. */
  readonly user?: number;
  /** Paths of this machine that all jails see, beside `/usr` and what belongs to it. */
  readonly readOnly?: readonly string[];
  /** Size of `/tmp`, and of `/dev/shm`. */
  readonly tmpBytes?: number;
  /** What a folder may come to hold while a program runs. */
  readonly folderLimit?: FolderLimit;
  /** Takes defences away, to show that each is needed. */
  readonly without?: ReadonlySet<Defence>;
}

const usualPlaces = ['/usr/bin/bwrap', '/usr/local/bin/bwrap', '/bin/bwrap'];
const nobody = 65_534;
const mebibyte = 1024 * 1024;
const maxTmpFiles = 50_000;
const probeLimits: JailLimits = {
  ...{ wallMs: 10_000, cpuMs: 5_000, memoryBytes: 256 * mebibyte, processes: 16, files: 64, fileBytes: mebibyte, outputBytes: 10_000 },
};

/**
 * Jails of bubblewrap: namespaces of their own for all that there is, no user of this machine, no capability, no environment, no network,
 * a filter of system calls, and limits; with gVisor a kernel of their own besides. There is nothing weaker: where it does not work, calls
 * are refused.
 */
export function createJail(options: JailOptions): Jail {
  const { clock, timers, driver = 'bubblewrap', tmpBytes = 64 * mebibyte, without = new Set<Defence>() } = options;
  const { folderLimit = { bytes: 1024 * mebibyte, files: 20_000 } } = options;
  const bubblewrap = options.bubblewrap ?? usualPlaces.find((place) => existsSync(place));
  const runsc = driver === 'gvisor' ? findRunsc(options.runsc) : undefined;
  const filter = platform === 'linux' ? systemCallFilter(arch, driver === 'gvisor') : null;
  const isRoot = process.getuid?.() === 0;
  const user = isRoot ? { uid: options.user ?? nobody, gid: options.user ?? nobody } : undefined;
  const guard = createJailGuard(outerPath);
  let jails = 0;
  const running = new Set<JailRun>();
  const closing = new AbortController();
  let probed: Promise<string | null> | undefined;
  /** The one that works, once it was tried. */
  let kernel: GvisorKernel | undefined;

  function start(request: JailRequest, streams: readonly ('stdout' | 'stderr')[], output: JailOutput): JailRun {
    const plan = planJail(request, {
      ...{
        bubblewrap: bubblewrap ?? '',
        user,
        kernel,
        mark: `${guard.mark}.${++jails}`,
        readOnly: (options.readOnly ?? []).filter((path) => existsSync(path)),
      },
      ...{ tmpBytes, hasFilter: filter !== null, without },
    });
    const env = without.has('environment') ? { ...process.env, PATH: outerPath } : { PATH: outerPath };
    const child = startJailChild(plan, { timers, filter, env, waitsForAll: !without.has('leftovers') });
    const run = superviseRun(child, request, streams, output, {
      ...{ clock, timers, folderLimit, maxTmpFiles, without },
      ...(kernel === undefined ? {} : { kernel: { bytes: kernelBytes, memoryFile, faultCode, faultWords } }),
    });
    running.add(run);
    void run.ended.then(() => running.delete(run));
    return run;
  }

  /** What must be done to the folder before. Throws what the program cannot be started for. */
  async function prepare({ folder, proxySocket }: Pick<JailRequest, 'folder' | 'proxySocket'>, signal: AbortSignal): Promise<void> {
    const refused = await refusal();
    if (refused !== null) throw unavailable(refused);
    await guarded();
    if (folder !== undefined) await claim(folder.path);
    // The folder that it lies in is closed to that user.
    if (proxySocket !== undefined && user !== undefined) await chmod(proxySocket, 0o666);
    if (closing.signal.aborted) throw unavailable('the server is shutting down');
    if (signal.aborted) throw cancelled();
  }

  async function guarded(): Promise<void> {
    await guard.ready().catch((error: Error) => {
      throw unavailable(`what ends them with the server cannot be started (/bin/sh: ${error.message})`);
    });
  }

  async function claim(folder: string): Promise<void> {
    if (user !== undefined && !without.has('user')) await handOver(folder, user);
  }

  async function supervised(request: JailRequest, run: JailRun, signal: AbortSignal): Promise<JailEnd> {
    const onAbort = () => run.stop(cancelled().toInfo());
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const end = await run.ended;
      if (request.folder?.writable !== true || (await tidyFolder(request.folder.path).catch(() => true)) || end.type === 'stopped')
        return end;
      return { ...factsOf(end), type: 'stopped', error: limitExceeded('disk', 'the program made folders deeper than a path can say') };
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async function probe(): Promise<string | null> {
    if (platform !== 'linux') return `processes are jailed on Linux only, and this is ${platform}`;
    if (bubblewrap === undefined || !existsSync(bubblewrap))
      return `bubblewrap is not installed${bubblewrap === undefined ? '' : ` at ${bubblewrap}`}: install it (apt-get install bubblewrap), or name it with sandbox.jail.bubblewrap`;
    if (filter === null) return `no filter of system calls is known for ${arch}; there is one for x64 and arm64`;
    await guarded();
    if (driver === 'bubblewrap') return (await tryOne()) ?? null;
    if (runsc === undefined || !existsSync(runsc))
      return `gVisor is not installed${runsc === undefined ? '' : ` at ${runsc}`}: install runsc (on Debian 12 the one of bookworm-backports: apt-get install -t bookworm-backports runsc), name it with sandbox.jail.runsc, or set sandbox.jail.driver to bubblewrap`;
    let said: string | null = null;
    for (const each of platforms) {
      kernel = { runsc, platform: each };
      const failed = await tryOne();
      if (failed === null) return null;
      said ??= failed;
    }
    return said;
  }

  /** What kept a jail from running something. */
  async function tryOne(): Promise<string | null> {
    const argv = ['/bin/sh', '-c', 'ls /usr >/tmp/seen && echo jailed'];
    const end = await start({ argv, limits: probeLimits }, bothStreams, firstOutput(10_000)).ended;
    if (end.type === 'exited' && Buffer.from(end.stdout).toString('utf8') === 'jailed\n') return null;
    const said = end.type === 'stopped' ? end.error.message : Buffer.from(end.stderr).toString('utf8').trim().slice(-300);
    const tried = kernel === undefined ? 'a jail' : `a jail with gVisor (${kernel.platform})`;
    return `${tried} was tried and failed (${said}): ${kernel === undefined ? '' : asGvisor}${isRoot ? asRoot : asUser}`;
  }

  const refusal = () => {
    probed ??= probe();
    return probed;
  };

  return {
    tier: driver === 'gvisor' ? 'T3' : 'T2',
    refusal,
    claim,
    alive: () => running.size,
    async run(request, signal) {
      const before = clock.monotonic();
      try {
        await prepare(request, signal);
      } catch (error) {
        return neverBegan(error, clock.monotonic() - before);
      }
      const run = start(request, bothStreams, firstOutput(request.limits.outputBytes));
      run.child.stdin.end(request.stdin ?? '');
      return supervised(request, run, signal);
    },
    async spawn(request, signal) {
      await prepare(request, signal);
      const run = start(request, ['stderr'], lastErrors(request.limits.outputBytes));
      const { stdin, stdout } = run.child;
      return {
        stdin,
        stdout,
        ended: supervised(request, run, signal),
        terminate: run.child.terminate,
        kill: () => run.stop(cancelled().toInfo()),
      };
    },
    async close() {
      closing.abort();
      for (const run of running) run.stop(unavailable('the server is shutting down').toInfo());
      await Promise.all([...running].map((run) => run.ended));
      guard.close();
    },
  };
}

const bothStreams = ['stdout', 'stderr'] as const;
/** Where what builds a jail is looked for. */
const outerPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const asUser =
  'the kernel must let this user make user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0; on Ubuntu an AppArmor profile for bwrap), and so must what limits its container';
const asGvisor = 'runsc must be of 2024 or later and the server able to make jails without it: ';
const asRoot = `root needs CAP_SYS_ADMIN to bind folders and CAP_SETUID to become another user, or run the server as an ordinary user; ${asUser}`;

function unavailable(why: string): NexusError {
  return new NexusError('sandbox_unavailable', `no process can be jailed here: ${why}`, { retryable: false });
}

function cancelled(): NexusError {
  return new NexusError('cancelled', 'the program was cancelled');
}

function factsOf({ stdout, stderr, cpuMs, memoryBytes, durationMs }: JailEnd) {
  return { stdout, stderr, cpuMs, memoryBytes, durationMs };
}

function neverBegan(error: unknown, durationMs: number): JailEnd {
  const known = error instanceof NexusError ? error : unavailable('the folder cannot be prepared for it');
  return {
    type: 'stopped',
    error: known.toInfo(),
    stdout: new Uint8Array(),
    stderr: new Uint8Array(),
    cpuMs: 0,
    memoryBytes: 0,
    durationMs,
  };
}
