/**
 * Attacks on jails as data: what a program tries, which defences keep it from succeeding, and so what must be taken away for it to succeed.
 * A program that succeeds says `ESCAPED`, unless its attack looks for itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, systemTimers } from '../../../packages/server/src/core/index.ts';
import {
  createJail,
  type Defence,
  defences,
  type JailDriver,
  type JailEnd,
  type JailLimits,
} from '../../../packages/server/src/tools/index.ts';

const mebibyte = 1024 * 1024;
const isRoot = process.getuid?.() === 0;

export interface Attack {
  readonly name: string;
  /** Without all of these it succeeds. None: bubblewrap and the kernel keep it out by themselves. */
  readonly defences: readonly Defence[];
  readonly shell?: string;
  readonly python?: string;
  readonly limits?: Partial<JailLimits>;
  /** Where it makes no sense otherwise. */
  readonly onlyAs?: 'root';
  readonly onlyOn?: JailDriver;
  readonly succeeded?: (end: JailEnd, target: Target) => boolean;
}

/** Those without which attacks succeed on gVisor too; what the others keep out its kernel keeps out as well. */
const neededOnGvisor = new Set<Defence>(
  defences.filter((each) => each.startsWith('limit-') || ['read-only', 'system-calls', 'tmp-size', 'shm-size'].includes(each)),
);
export const ofGvisor = (attack: Attack): Attack => {
  const isNeeded = attack.defences.some((each) => neededOnGvisor.has(each)) && attack.name !== familiesName;
  return { ...attack, defences: isNeeded ? attack.defences : [] };
};
/** What attacks are after on this machine. */
export interface Target {
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  readonly readOnly: readonly { readonly path: string; readonly at: string }[];
  close(): Promise<void>;
}

const secretWord = 'word-of-the-host';
/** gVisor has no other families. */
const familiesName = 'opens a socket that no network namespace holds';
const libc = 'import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\n';

const attacks: readonly Attack[] = [
  // What is not of the jail
  { name: 'reads a file of the host', defences: ['files-apart'], shell: 'cat "$SECRET_FILE"', succeeded: saysSecret },
  { name: 'reads a file of the host through a link of its folder', defences: ['files-apart'], shell: 'cat link', succeeded: saysSecret },
  {
    name: 'climbs out of its folder',
    defences: [],
    shell: 'cd /workspace/..; cat "../../../..$SECRET_FILE" "$PWD/..$SECRET_FILE"; ls -a .. | grep -q "^home$" && echo ESCAPED',
  },
  { name: 'reads shadow', defences: [], shell: 'cat /etc/shadow && echo ESCAPED' },
  {
    name: 'goes by the root of the first process',
    defences: [],
    shell: 'cat "/proc/1/root$SECRET_FILE" "/proc/1/cwd/..$SECRET_FILE" "/proc/self/root/../..$SECRET_FILE"',
    succeeded: saysSecret,
  },
  { name: 'reads the environment of the server', defences: ['environment'], shell: 'env; cat /proc/*/environ', succeeded: saysSecret },
  { name: 'signals a process of the host', defences: ['processes-apart'], shell: 'kill -0 "$HOST_PID" && echo ESCAPED' },
  {
    name: 'shares memory of the host',
    defences: ['ipc-apart'],
    shell: 'test "$(readlink /proc/self/ns/ipc)" = "$HOST_IPC" && echo ESCAPED',
  },
  {
    name: 'connects to a port of the host',
    defences: ['network-apart'],
    python: 'import os, socket\nsocket.create_connection(("127.0.0.1", int(os.environ["HOST_PORT"])), 2)\nprint("ESCAPED")',
  },
  {
    name: 'connects to the metadata of a cloud',
    defences: [],
    python: 'import socket\nsocket.create_connection(("169.254.169.254", 80), 2)\nprint("ESCAPED")',
  },
  { name: 'writes where it may only read', defences: ['read-only'], shell: 'echo ours > /data/theirs && echo ESCAPED' },
  { name: 'writes to programs', defences: [], shell: 'echo x > /usr/bin/true && echo ESCAPED; touch /usr/x && echo ESCAPED' },
  { name: 'fills the root of its file system', defences: ['root-read-only'], shell: 'echo x > /x && echo ESCAPED' },
  { name: 'fills the folder of devices', onlyOn: 'bubblewrap', defences: ['devices-read-only'], shell: 'echo x > /dev/x && echo ESCAPED' },
  {
    name: 'stays in the session of the server',
    defences: ['session'],
    shell: 'set -- $(cat /proc/self/stat); test "$6" = 0 && echo ESCAPED',
  },
  // What a user may do
  {
    name: 'writes a setting of the kernel, as root of the host without rights',
    defences: ['user'],
    onlyAs: 'root',
    // With what stands there.
    shell: 'word=$(cat /proc/sys/kernel/core_pattern) && echo "$word" > /proc/sys/kernel/core_pattern && echo ESCAPED',
  },
  {
    name: 'becomes another user',
    defences: [],
    shell:
      'test -u /usr/bin/su || test -u /usr/bin/passwd; su -c "echo ESCAPED" </dev/null; grep -q "^CapEff:.*[1-9a-f]" /proc/self/status && echo ESCAPED',
  },
  {
    name: 'nests a user namespace',
    defences: ['nested-users', 'system-calls'],
    python: `${libc}print("ESCAPED" if c.unshare(0x10000000) == 0 else ctypes.get_errno())`,
  },
  {
    name: 'mounts in a namespace of its own',
    defences: ['nested-users', 'system-calls'],
    python: `${libc}print("ESCAPED" if c.unshare(0x10020000) == 0 and c.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else ctypes.get_errno())`,
  },
  {
    name: 'mounts',
    defences: [],
    python: `${libc}print("ESCAPED" if c.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else ctypes.get_errno())`,
  },
  {
    name: 'asks for keys of the kernel',
    defences: ['system-calls'],
    python: `${libc}import platform\nprint("ESCAPED" if c.syscall({"x86_64": 250, "aarch64": 219}[platform.machine()], 0, -3, 1) > 0 else ctypes.get_errno())`,
  },
  { name: 'traces', defences: ['system-calls'], python: `${libc}print("ESCAPED" if c.ptrace(0, 0, 0, 0) == 0 else ctypes.get_errno())` },
  {
    name: familiesName,
    defences: ['system-calls'],
    // Whichever this kernel has: those of hypervisors are not on every machine.
    python:
      'import socket\nfor family in range(3, 46):\n  for kind in (1, 2, 3, 5):\n    try:\n      if family not in (10, 16): socket.socket(family, kind); print("ESCAPED", family)\n    except OSError: pass',
  },
  // What it uses up
  { name: 'runs on', defences: ['limit-wall'], shell: 'trap "" TERM INT; sleep 2; echo ESCAPED', limits: { wallMs: 500 } },
  {
    name: 'computes on',
    defences: ['limit-cpu'],
    // So much work: another kernel may count time that a process only waited for.
    python: 'for i in range(60_000_000): pass\nprint("ESCAPED")',
    limits: { cpuMs: 200 },
  },
  { name: 'takes memory', onlyOn: 'bubblewrap', defences: ['limit-memory'], python: 'x = bytearray(160 << 20)\nprint("ESCAPED")' },
  {
    name: 'takes memory and holds it',
    onlyOn: 'gvisor',
    defences: ['limit-memory'],
    python: 'import time\nx = bytearray(b"x") * (300 << 20); time.sleep(2)\nprint("ESCAPED")',
  },
  {
    name: 'takes memory faster than anybody looks',
    onlyOn: 'gvisor',
    defences: ['limit-memory'],
    // In one system call, which touches nothing.
    python:
      'import mmap\nx = [mmap.mmap(-1, 512 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS) for i in range(8)]\nfor each in x: each[-1] = 1\nprint("ESCAPED")',
  },
  {
    name: 'fills the folder of devices, which is memory of its own kernel',
    onlyOn: 'gvisor',
    defences: ['limit-memory'],
    shell:
      'i=0; while test $i -lt 40; do i=$((i+1)); dd if=/dev/zero of=/dev/big$i bs=1M count=7 2>/dev/null || exit 1; done; sleep 1; echo ESCAPED',
  },
  {
    name: 'takes memory with many processes',
    defences: ['limit-memory'],
    python:
      'import os, time\nfor i in range(3):\n  if os.fork() == 0:\n    x = bytearray(50 << 20); time.sleep(2); os._exit(0)\ny = bytearray(50 << 20); time.sleep(2)\nprint("ESCAPED")',
  },
  {
    name: 'takes memory that it shares and does not look at',
    onlyOn: 'bubblewrap',
    defences: ['limit-memory'],
    python:
      'import mmap, time\nxs = [mmap.mmap(-1, 40 << 20) for i in range(6)]\nfor m in xs:\n  for at in range(0, 40 << 20, 4096): m[at] = 1\n  m.madvise(mmap.MADV_DONTNEED)\ntime.sleep(0.5)\nassert xs[0][0] == 1\nprint("ESCAPED")',
  },
  {
    name: 'takes memory that belongs to children which are gone',
    onlyOn: 'bubblewrap',
    defences: ['limit-memory'],
    python:
      'import mmap, os, time\nm = mmap.mmap(-1, 240 << 20)\nfor i in range(6):\n  if os.fork() == 0:\n    for at in range(i * (40 << 20), (i + 1) * (40 << 20), 4096): m[at] = 1\n    os._exit(0)\n  os.wait()\ntime.sleep(0.5)\nprint("ESCAPED")',
  },
  {
    name: 'takes memory of the kernel with pages that lie far apart',
    onlyOn: 'bubblewrap',
    defences: ['limit-memory'],
    python:
      'import mmap, time\nm = mmap.mmap(-1, 1 << 37, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)\nfor at in range(0, 1 << 37, 2 << 20): m[at]\ntime.sleep(0.5)\nprint("ESCAPED")',
  },
  {
    name: 'keeps memory in files without a name',
    onlyOn: 'bubblewrap',
    defences: ['system-calls'],
    python:
      'import os, time\nfor i in range(30):\n  f = os.memfd_create("x")\n  for j in range(7): os.write(f, b"x" * (1 << 20))\ntime.sleep(0.5)\nprint("ESCAPED")',
  },
  {
    name: 'keeps memory that System V shares and nobody maps',
    onlyOn: 'bubblewrap',
    defences: ['system-calls'],
    python: `${libc}import time\nc.shmat.restype = ctypes.c_void_p\nfor i in range(6):\n  at = c.shmat(c.shmget(0, 40 << 20, 0o1600), None, 0)\n  assert at != ctypes.c_void_p(-1).value\n  ctypes.memset(at, 1, 40 << 20); c.shmdt(ctypes.c_void_p(at))\ntime.sleep(0.5)\nprint("ESCAPED")`,
  },
  {
    name: 'keeps memory in messages of System V',
    onlyOn: 'bubblewrap',
    defences: ['system-calls'],
    python: `${libc}message = ctypes.create_string_buffer(bytes([1]) + bytes(8199))\nfor i in range(1000):\n  queue = c.msgget(0, 0o600)\n  assert queue >= 0\n  assert c.msgsnd(queue, message, 8000, 0o4000) == 0\nprint("ESCAPED")`,
  },
  {
    name: 'forks on and on',
    defences: ['limit-processes'],
    python: 'import os, time\nfor i in range(60):\n  if os.fork() == 0:\n    time.sleep(1); os._exit(0)\nprint("ESCAPED")',
  },
  {
    name: 'starts threads on and on',
    defences: ['limit-processes'],
    python:
      'import threading, time\nthreading.stack_size(65536)\nfor i in range(60): threading.Thread(target=time.sleep, args=(1,), daemon=True).start()\nprint("ESCAPED")',
  },
  { name: 'opens files on and on', defences: ['limit-files'], python: 'fs = [open("/dev/null") for i in range(100)]\nprint("ESCAPED")' },
  {
    name: 'writes a large file',
    defences: ['limit-file-size'],
    shell: 'dd if=/dev/zero of=big bs=65536 count=200 2>/dev/null && echo ESCAPED',
  },
  {
    name: 'fills its folder',
    defences: ['limit-disk'],
    shell: 'for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=big$i bs=65536 count=80 2>/dev/null; done; sleep 1; echo ESCAPED',
  },
  {
    name: 'fills /tmp',
    defences: ['tmp-size'],
    shell: 'for i in 1 2 3 4 5; do dd if=/dev/zero of=/tmp/big$i bs=65536 count=80 2>/dev/null || exit 1; done; echo ESCAPED',
  },
  {
    name: 'fills shared memory',
    defences: ['shm-size'],
    shell: 'for i in 1 2 3 4 5; do dd if=/dev/zero of=/dev/shm/big$i bs=65536 count=80 2>/dev/null || exit 1; done; echo ESCAPED',
  },
  {
    name: 'prints on and on',
    defences: ['limit-output'],
    shell: 'dd if=/dev/zero bs=65536 count=20 2>/dev/null',
    succeeded: (end) => end.type === 'exited' && end.exitCode === 0,
  },
  // What outlives it
  {
    name: 'leaves a process behind',
    // That the first process dies with bubblewrap, and that the end is waited for.
    defences: ['parent', 'leftovers'],
    shell: '(setsid sh -c "sleep 1; echo x > late" >/dev/null 2>&1 </dev/null &); echo done',
    succeeded: (_end, { folder }) => existsSync(join(folder, 'late')),
  },
];

function saysSecret({ stdout, stderr }: JailEnd): boolean {
  return Buffer.concat([stdout, stderr]).includes(secretWord);
}

export const ordinaryLimits: JailLimits = {
  ...{ wallMs: 15_000, cpuMs: 8_000, memoryBytes: 120 * mebibyte, processes: 32, files: 64, fileBytes: 8 * mebibyte, outputBytes: 500_000 },
};

/** Runs it in a jail that lacks these defences, and says whether it succeeded. */
export async function attempt(
  attack: Attack,
  target: Target,
  without: readonly Defence[] = [],
  driver: JailDriver = 'bubblewrap',
): Promise<{ readonly succeeded: boolean; readonly end: JailEnd }> {
  const jail = createJail({
    ...{ clock: systemClock, timers: systemTimers, driver, without: new Set(without) },
    ...{ tmpBytes: 16 * mebibyte, folderLimit: { bytes: 24 * mebibyte, files: 500 } },
  });
  const argv = attack.shell === undefined ? ['/usr/bin/python3', '-c', attack.python ?? ''] : ['/bin/sh', '-c', attack.shell];
  const { folder, env, readOnly } = target;
  // What an attack before left there would count for this one.
  for (const name of readdirSync(folder)) if (name !== 'link') rmSync(join(folder, name), { recursive: true, force: true });
  try {
    const request = { argv, env, readOnly, folder: { path: folder, writable: true }, limits: { ...ordinaryLimits, ...attack.limits } };
    const end = await jail.run(request, new AbortController().signal);
    if (attack.defences.includes('leftovers')) await systemTimers.sleep(1_500);
    const says = Buffer.from(end.stdout).includes('ESCAPED');
    return { succeeded: attack.succeeded === undefined ? says : attack.succeeded(end, target), end };
  } finally {
    await jail.close();
  }
}

/** Puts there what attacks are after. */
export async function setTarget(): Promise<Target> {
  const base = mkdtempSync(join(tmpdir(), 'nexus-target-'));
  const folder = join(base, 'folder');
  const data = join(base, 'data');
  // Where jails have nothing of their own: their /tmp hides that of the host.
  const outside = mkdtempSync('/var/tmp/nexus-target-');
  const secret = join(outside, 'secret');
  mkdirSync(folder);
  mkdirSync(data);
  for (const place of [base, data, outside]) chmodSync(place, 0o755);
  if (isRoot) chownSync(data, 65_534, 65_534);
  writeFileSync(secret, `${secretWord}\n`, { mode: 0o644 });
  symlinkSync(secret, join(folder, 'link'));
  // Of the same user as what is jailed: only the jail keeps that one from it.
  const victim: ChildProcess = spawn('sleep', ['600'], { stdio: 'ignore', ...(isRoot ? { uid: 65_534, gid: 65_534 } : {}) });
  const server: Server = createServer((socket) => socket.end());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  process.env.NEXUS_TARGET_SECRET = secretWord;
  return {
    folder,
    env: {
      SECRET_FILE: secret,
      HOST_PID: String(victim.pid),
      HOST_PORT: String(typeof address === 'object' ? address?.port : 0),
      HOST_IPC: readlinkSync('/proc/self/ns/ipc'),
    },
    readOnly: [{ path: data, at: '/data' }],
    async close() {
      delete process.env.NEXUS_TARGET_SECRET;
      victim.kill('SIGKILL');
      await new Promise((resolve) => server.close(resolve));
      for (const place of [base, outside]) rmSync(place, { recursive: true, force: true });
    },
  };
}

/** Why jails, and so attacks on them, cannot be tried here; null when they can. */
export async function whyNoAttacks(driver: JailDriver = 'bubblewrap'): Promise<string | null> {
  const jail = createJail({ clock: systemClock, timers: systemTimers, driver });
  const refusal = await jail.refusal();
  if (refusal !== null) return refusal;
  return existsSync('/usr/bin/python3') ? null : 'the attacks are written in Python, and there is no /usr/bin/python3';
}

export const attacksHere = attacksOn('bubblewrap');
export const attacksOnGvisor = attacksOn('gvisor');

function attacksOn(driver: JailDriver): readonly Attack[] {
  return attacks.filter(({ onlyAs, onlyOn = driver }) => onlyOn === driver && (onlyAs === undefined || isRoot));
}
