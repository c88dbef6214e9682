import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { forwarding, proxyEnvironment, proxyPlaces } from './forwarder.ts';
import { type GvisorKernel, gvisorCommand, gvisorConfig, gvisorPlaces, largestMemory } from './gvisor.ts';
import type { Defence, JailRequest } from './types.ts';

/** Where what a jail needs is handed to bubblewrap, by number of the descriptor. */
export const descriptors = { arguments: 3, status: 4, filter: 5, users: 6, bundle: 7 } as const;

/** Who a program is inside. */
const inside = { uid: 1000, gid: 1000, name: 'agent' };
/** gVisor knows no user but one, which is its root. */
const usersFile = ({ uid, gid, name } = inside) => `${name}:x:${uid}:${gid}:agent:/tmp:/bin/sh\n`;

/** What jails see of this machine, if it is there: programs, and what these need to start. */
const systemPaths = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'];
const settingPaths = ['/etc/alternatives', '/etc/ld.so.cache', '/etc/ld.so.conf', '/etc/ld.so.conf.d', '/etc/ssl/certs', '/etc/localtime'];
const path = '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin';

export interface PlanOptions {
  /** An absolute path. */
  readonly bubblewrap: string;
  /** Who jailed programs are for this machine, where the server is root; undefined: as the server is. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  /** The kernel of programs; undefined: that of this machine. */
  readonly kernel: GvisorKernel | undefined;
  /** Stands in the command line, for those who look for it. */
  readonly mark: string;
  /** Further paths of this machine that all jails see. */
  readonly readOnly: readonly string[];
  readonly tmpBytes: number;
  readonly hasFilter: boolean;
  readonly without: ReadonlySet<Defence>;
}

export interface JailPlan {
  readonly command: string;
  readonly args: readonly string[];
  /** What bubblewrap reads besides. */
  readonly options: readonly string[];
  /** What it is handed besides: its users, and what another kernel than that of this machine is told. */
  readonly users: string;
  readonly bundle: string;
  /** Stands in the command line of all that builds the jail. */
  readonly mark: string;
}

interface Bind {
  readonly path: string;
  readonly at: string;
  readonly writable: boolean;
}

/**
 * What is executed for a request. As root the folders are first bound, in a mount namespace of their own, to where the user of jails may
 * look, for those above them are closed to it; then everything is done as that user. So root and an ordinary user have the same jail, and
 * nothing of a jail is ever root for the kernel: root of the machine, even without any capability, may write settings of the kernel.
 */
export function planJail(request: JailRequest, options: PlanOptions): JailPlan {
  const { bubblewrap, user, kernel, mark, without } = options;
  const binds: Bind[] = [
    ...options.readOnly.map((each) => ({ path: each, at: each, writable: false })),
    ...(request.folder === undefined ? [] : [{ ...request.folder, at: '/workspace' }]),
    // Some may lie on files of the folder.
    ...(request.readOnly ?? []).map((each) => ({ ...each, writable: false })),
    ...(request.proxySocket === undefined
      ? []
      : [
          { path: request.proxySocket, at: proxyPlaces.socket, writable: false },
          { path: process.execPath, at: proxyPlaces.node, writable: false },
        ]),
    ...(kernel === undefined ? [] : [{ path: kernel.runsc, at: gvisorPlaces.runsc, writable: false }]),
  ];
  const becomes = user !== undefined && !without.has('user') ? user : undefined;
  const place = becomes === undefined || binds.length === 0 ? undefined : stagingPlace(binds.map((bind) => bind.path));
  const sources = place === undefined ? binds : binds.map((bind, index) => ({ ...bind, path: `${place}/${index}` }));
  // What is read from the descriptor comes later and clears the environment.
  const jailed = [bubblewrap, '--setenv', 'NEXUS_JAIL', mark, '--args', String(descriptors.arguments), '--', ...limited(request, options)];
  const plan = {
    ...{ mark, options: bubblewrapOptions(request, sources, options), bundle: bundleOf(request, binds, options) },
    users: kernel === undefined ? usersFile() : usersFile({ ...inside, uid: 0, gid: 0 }),
  };
  if (becomes === undefined) return { ...plan, command: jailed[0] ?? '', args: jailed.slice(1) };
  const asUser = [
    'setpriv',
    ...[`--reuid=${becomes.uid}`, `--regid=${becomes.gid}`, '--clear-groups', '--inh-caps=-all', '--no-new-privs', '--'],
    ...jailed,
  ];
  const staging = ['/bin/sh', '-ec', stage, 'jail', place ?? '', ...(place === undefined ? [] : binds.map((bind) => bind.path)), '--'];
  return { ...plan, command: 'unshare', args: ['--mount', '--propagation', 'private', '--', ...staging, ...asUser] };
}

/** Binds what is named up to `--` to numbered places, and goes on with the rest. */
const stage = `
place=$1; shift; n=0
test -z "$place" || mount -t tmpfs -o mode=755,size=256k tmpfs "$place"
while test "$1" != --; do
  if test -d "$1"; then mkdir "$place/$n"; else : > "$place/$n"; fi
  mount --bind "$1" "$place/$n"; shift; n=$((n + 1))
done
shift; exec "$@"`;

/** A folder that is there on any machine and hides nothing that is needed, as the mount is seen by this jail alone. */
function stagingPlace(sources: readonly string[]): string {
  const free = ['/mnt', '/media', '/srv', '/opt', '/var/tmp', '/tmp'].find(
    (place) => isFolder(place) && !sources.some((source) => `${source}/`.startsWith(`${place}/`)),
  );
  return free ?? '/mnt';
}

function isFolder(place: string): boolean {
  return lstatSync(place, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** By its path: a request may have a search path of its own. */
function prlimit(): string {
  return ['/usr/bin/prlimit', '/bin/prlimit'].find((path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined) ?? 'prlimit';
}

/** The hard limits of each process. They are set inside, where processes are counted for the jail alone. */
function limitsOfEach({ limits, proxySocket }: JailRequest, { kernel, without }: PlanOptions): (readonly [string, number])[] {
  // What leads to the proxy runs beside another kernel, not on it.
  const forwarders = proxySocket === undefined || kernel !== undefined ? 0 : forwarding.processes;
  const each: readonly (readonly [Defence, string, number])[] = [
    ['limit-processes', 'nproc', limits.processes + forwarders],
    ['limit-files', 'nofile', limits.files],
    ['limit-file-size', 'fsize', limits.fileBytes],
    ['limit-memory', 'data', limits.memoryBytes],
    ['limit-cpu', 'cpu', Math.ceil(limits.cpuMs / 1_000) + 1],
  ];
  return each.filter(([defence]) => !without.has(defence)).map(([, name, value]) => [name, value]);
}

/** What the jail executes: the program under its limits, or the kernel that sets these. */
function limited(request: JailRequest, options: PlanOptions): string[] {
  const { proxySocket } = request;
  const { kernel } = options;
  const forwarded = proxySocket === undefined ? [] : forwarding.command;
  const argv = [...withEnvironment(request, options.mark), ...request.argv];
  if (kernel !== undefined) {
    const memory = !options.without.has('limit-memory') ? [`--fsize=${largestMemory(request.limits, options.tmpBytes)}`] : [];
    return [prlimit(), ...memory, '--core=0', '--', ...forwarded, ...gvisorCommand(kernel, request)];
  }
  const set = limitsOfEach(request, options).map(
    ([name, value]) => `--${name}=${Number.isFinite(value) ? Math.floor(value) : 'unlimited'}`,
  );
  if (proxySocket === undefined) return [prlimit(), ...set, '--core=0', '--', ...argv];
  // What forwards reserves memory that it never uses, and has its limit apart.
  const ofMemory = set.filter((each) => each.startsWith('--data='));
  const others = set.filter((each) => !ofMemory.includes(each));
  return [prlimit(), ...others, '--core=0', '--', ...forwarded, prlimit(), ...ofMemory, '--core=0', '--', ...argv];
}

/**
 * What gives a program the environment that it is to have, when its limits are set: before, its variables would be those of what sets them,
 * and a loader obeys some (`LD_PRELOAD`), so that code of the program would run without a limit. They come under names that nobody knows.
 */
function withEnvironment({ env = {} }: JailRequest, mark: string): string[] {
  const count = Object.keys(env).length;
  return count === 0 ? [] : ['/bin/sh', '-c', setEnvironment, 'jail', carriedName(mark), String(count)];
}

const carriedName = (mark: string) => `NEXUS_${mark.replace(/[^A-Za-z0-9]/g, '_')}_`;

const setEnvironment = `
nexus_name=$1; nexus_left=$2; shift 2
while test "$nexus_left" -gt 0; do
  nexus_left=$((nexus_left - 1))
  eval "nexus_value=\\$$nexus_name$nexus_left; unset $nexus_name$nexus_left"
  command export "$nexus_value"
done
unset nexus_name nexus_left nexus_value; exec "$@"`;

function carriedEnvironment({ env = {} }: JailRequest, mark: string): Record<string, string> {
  return Object.fromEntries(Object.entries(env).map(([name, value], index) => [`${carriedName(mark)}${index}`, `${name}=${value}`]));
}

function bundleOf(request: JailRequest, binds: readonly Bind[], options: PlanOptions): string {
  if (options.kernel === undefined) return '';
  const { tmpBytes, without } = options;
  const writable = binds.filter((bind) => bind.writable || (without.has('read-only') && bind.at !== gvisorPlaces.runsc));
  return gvisorConfig({
    // What cannot be started is told as it is without another kernel.
    argv: [prlimit(), '--core=0', '--', ...request.argv],
    ...{ env: { ...environmentOf(request), ...request.env }, cwd: cwdOf(request), tmpBytes, without },
    writable: writable.map((bind) => bind.at),
    each: limitsOfEach(request, options),
    hasWayOut: request.proxySocket !== undefined,
  });
}

function environmentOf(request: JailRequest): Record<string, string> {
  return {
    PATH: path,
    HOME: '/tmp',
    TMPDIR: '/tmp',
    LANG: 'C.UTF-8',
    USER: inside.name,
    ...proxyEnvironment(request),
  };
}

function cwdOf({ cwd, folder }: JailRequest): string {
  return cwd ?? (folder === undefined ? '/tmp' : '/workspace');
}

function bubblewrapOptions(request: JailRequest, binds: readonly Bind[], options: PlanOptions): string[] {
  const { kernel, without, tmpBytes } = options;
  const has = (defence: Defence) => !without.has(defence);
  const when = (defence: Defence, ...args: string[]) => (has(defence) ? args : []);
  const tmp = (defence: Defence, at: string) => [...when(defence, '--size', String(tmpBytes)), '--perms', '1777', '--tmpfs', at];
  // Another kernel is given what is for its program by itself.
  const env = kernel === undefined ? { ...environmentOf(request), ...carriedEnvironment(request, options.mark) } : { PATH: path };
  return [
    ...['--unshare-user', '--unshare-uts', '--unshare-cgroup-try', '--cap-drop', 'ALL', '--hostname', 'jail'],
    ...['--uid', String(inside.uid), '--gid', String(inside.gid)],
    // Another kernel makes namespaces for its own processes; its programs cannot.
    ...(kernel === undefined ? when('nested-users', '--disable-userns') : []),
    ...when('processes-apart', '--unshare-pid'),
    ...when('ipc-apart', '--unshare-ipc'),
    ...when('network-apart', '--unshare-net'),
    ...when('parent', '--die-with-parent'),
    ...when('session', '--new-session'),
    ...when('environment', '--clearenv'),
    ...(has('files-apart')
      ? [...systemPaths.flatMap(systemPath), ...settingPaths.flatMap((each) => ['--ro-bind-try', each, each])]
      : wholeMachine()),
    ...(has('files-apart') ? ['--ro-bind-data', String(descriptors.users), '/etc/passwd'] : []),
    ...(has('processes-apart') ? ['--proc', '/proc'] : ['--ro-bind', '/proc', '/proc']),
    ...['--dev', '/dev', ...tmp('shm-size', '/dev/shm'), ...when('devices-read-only', '--remount-ro', '/dev')],
    ...tmp('tmp-size', '/tmp'),
    ...binds.flatMap(({ path: source, at, writable }) => [writable || !has('read-only') ? '--bind' : '--ro-bind', source, at]),
    ...(kernel === undefined ? [] : ['--ro-bind-data', String(descriptors.bundle), gvisorPlaces.config]),
    ...when('root-read-only', '--remount-ro', '/'),
    ...['--chdir', kernel === undefined ? cwdOf(request) : '/'],
    ...Object.entries(env).flatMap(([name, value]) => ['--setenv', name, value]),
    ...['--json-status-fd', String(descriptors.status)],
    ...(options.hasFilter && has('system-calls') ? ['--seccomp', String(descriptors.filter)] : []),
  ];
}

function wholeMachine(): string[] {
  const own = ['proc', 'dev', 'tmp', 'workspace'];
  return readdirSync('/').flatMap((name) => (own.includes(name) ? [] : systemPath(`/${name}`)));
}

/** As it is here: on most machines `/bin` and its like are links into `/usr`. */
function systemPath(at: string): string[] {
  const found = lstatSync(at, { throwIfNoEntry: false });
  if (found === undefined) return [];
  return found.isSymbolicLink() ? ['--symlink', readlinkSync(at), at] : ['--ro-bind', at, at];
}
