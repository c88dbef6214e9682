import { existsSync } from 'node:fs';
import type { Defence, JailRequest } from './types.ts';

/**
 * gVisor as the kernel of jailed programs (tier T3): a jail is built as always, and the one program in it is `runsc`, which executes the
 * real one on a kernel of its own. What it needs, its state and its other processes live and die with the jail around it.
 */
export interface GvisorKernel {
  /** An absolute path of this machine. */
  readonly runsc: string;
  /** How it gets hold of the calls of programs. */
  readonly platform: string;
}

const usualPlaces = ['/usr/bin/runsc', '/usr/local/bin/runsc'];

export function findRunsc(named: string | undefined): string | undefined {
  return named ?? usualPlaces.find((place) => existsSync(place));
}

/** The quicker one first; releases before 2023 know the other only. */
export const platforms = ['systrap', 'ptrace'] as const;

/** Where the jail around has what is gVisor's; programs have an empty folder there. */
const own = '/run/nexus';
export const gvisorPlaces = { runsc: `${own}/runsc`, bundle: own, config: `${own}/config.json` } as const;

/** Memory of its kernel and of its processes on this machine, beside what programs may take. */
export const kernelBytes = 64 * 1024 * 1024;
/** All memory of its programs is this one file. */
export const memoryFile = 'runsc-memory';
const memoryStep = 1024 ** 3;

/**
 * What that file may come to, which it does in large steps: a wall behind the looks at it. Programs are refused more, and so is the largest
 * file that its kernel writes for them.
 */
export function largestMemory({ memoryBytes, fileBytes }: JailRequest['limits'], tmpBytes: number): number | 'unlimited' {
  const most = Math.ceil(Math.max(memoryBytes + 2 * tmpBytes, fileBytes) / memoryStep) * memoryStep;
  return Number.isFinite(most) ? most : 'unlimited';
}

/** Its last words when it could not begin, or was killed: no program ended with these and this code by itself, or it harms its own call. */
export const faultCode = 128;
export const faultWords = /(?:^|\n)(?:running container: |waiting for container: |FATAL ERROR: )[^\n]*\n?$/;

export function gvisorCommand({ platform }: GvisorKernel, { proxySocket }: Pick<JailRequest, 'proxySocket'>): string[] {
  return [
    gvisorPlaces.runsc,
    // A user of the jail around is enough for it.
    ...['--rootless', '--root=/tmp/.runsc', `--platform=${platform}`, '--ignore-cgroups', '--overlay2=none', '--directfs=false'],
    // With a way out it uses the network of the jail around, in which nothing is but that way; else there is only its own.
    `--network=${proxySocket === undefined ? 'none' : 'host'}`,
    ...['--host-uds=none', '--host-fifo=none', '--oci-seccomp'],
    ...['run', `--bundle=${gvisorPlaces.bundle}`, 'program'],
  ];
}

export interface GvisorProgram {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly tmpBytes: number;
  /** What is bound into the jail around; all else of it is read-only. */
  readonly writable: readonly string[];
  /** Hard limits of each process, by the names of `prlimit`. */
  readonly each: readonly (readonly [name: string, value: number])[];
  /** Then the network of the jail around is its own. */
  readonly hasWayOut: boolean;
  readonly without: ReadonlySet<Defence>;
}

/** Its bundle: the files are those of the jail around. */
export function gvisorConfig({ argv, env, cwd, tmpBytes, writable, each, hasWayOut, without }: GvisorProgram): string {
  const has = (defence: Defence) => !without.has(defence);
  const tmpfs = (at: string, defence: Defence) => ({
    ...{ destination: at, type: 'tmpfs', source: 'tmpfs' },
    options: ['nosuid', 'nodev', 'mode=1777', ...(has(defence) ? [`size=${tmpBytes}`] : [])],
  });
  return JSON.stringify({
    ociVersion: '1.0.2',
    process: {
      // It is root of nothing: no user but that of the jail around is known in there.
      ...{ terminal: false, user: { uid: 0, gid: 0 }, args: argv, cwd, noNewPrivileges: true, capabilities: {} },
      // The usual archiver gives files to their users where it is root, which fails without any capability.
      env: Object.entries({ TAR_OPTIONS: '--no-same-owner', ...env }).map(([name, value]) => `${name}=${value}`),
      rlimits: each.flatMap(([name, value]) => (Number.isFinite(value) ? [rlimit(name, value)] : [])),
    },
    root: { path: '/', readonly: true },
    hostname: 'jail',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      tmpfs('/tmp', 'tmp-size'),
      tmpfs('/dev/shm', 'shm-size'),
      { destination: '/run', type: 'tmpfs', source: 'tmpfs', options: ['ro', 'size=4096', 'mode=755'] },
      ...writable.map((at) => ({ destination: at, type: 'bind', source: at, options: ['rbind', 'rw', 'nosuid', 'nodev'] })),
    ],
    linux: {
      namespaces: ['pid', 'mount', 'ipc', 'uts', ...(hasWayOut ? [] : ['network'])].map((type) => ({ type })),
      ...(has('system-calls') ? { seccomp } : {}),
    },
  });
}

function rlimit(name: string, value: number) {
  return { type: `RLIMIT_${name.toUpperCase()}`, hard: Math.floor(value), soft: Math.floor(value) };
}

/** CLONE_NEW… of clone: mount, cgroup, host name, ipc, user, process and network namespaces. */
const namespaces = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000];

/** What programs are refused there they are refused here, though it would reach no kernel but gVisor's own. */
const seccomp = {
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [
    {
      names: [
        ...['add_key', 'request_key', 'keyctl', 'ptrace', 'process_vm_readv', 'process_vm_writev', 'kcmp', 'bpf', 'perf_event_open'],
        ...[
          'mount',
          'umount2',
          'pivot_root',
          'chroot',
          'unshare',
          'setns',
          'userfaultfd',
          'io_uring_setup',
          'sethostname',
          'setdomainname',
        ],
      ],
      action: 'SCMP_ACT_ERRNO',
    },
    ...namespaces.map((bit) => ({
      ...{ names: ['clone'], action: 'SCMP_ACT_ERRNO' },
      args: [{ index: 0, value: bit, valueTwo: bit, op: 'SCMP_CMP_MASKED_EQ' }],
    })),
  ],
};
