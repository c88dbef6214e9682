import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';

/**
 * Ends what jails leave when this process is killed. That bubblewrap dies with its parent does not do for it: it says so to the kernel only
 * once it runs, and its first process inside says so last of all, so that one which is being built while its server dies lives on, waits
 * for nobody or even starts its program. The guard is a shell of its own that hears of the end by a pipe, then kills whatever bears the
 * mark until there is none.
 */
export interface JailGuard {
  /** Stands in the command line of each jail. */
  readonly mark: string;
  /** Resolves once there is one; nothing may be jailed before. Rejects when none can be started. */
  ready(): Promise<void>;
  /** No jail may run any more. */
  close(): void;
}

/**
 * Looks at each process, since one that is being built may make another meanwhile; ends after some looks that found nothing. One search for all of
 * them, which has the mark from its input and not in its own command line: many servers may end at once.
 */
const program = `
echo ready
cat >/dev/null
looks=0; quiet=0
while test $quiet -lt 5 && test $looks -lt 200; do
  quiet=$((quiet + 1)); looks=$((looks + 1))
  for each in $(echo "$NEXUS_JAILS" | grep -lsF -f - /proc/[0-9]*/cmdline); do
    pid=\${each#/proc/}; kill -KILL "\${pid%/cmdline}" && quiet=0
  done
  sleep 0.1
done 2>/dev/null`;

export function createJailGuard(path: string): JailGuard {
  const mark = `nexus-jail-${randomUUID()}`;
  let started: Promise<ChildProcess> | undefined;
  let closed = false;

  function start(): Promise<ChildProcess> {
    // In a session of its own: what ends the server by its terminal or its group does not end the guard.
    const child = spawn('/bin/sh', ['-c', program], {
      ...{ cwd: '/', detached: true, env: { PATH: path, NEXUS_JAILS: mark } },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    let wasReady = false;
    const gone = () => {
      if (started === starting) started = undefined;
      // It was killed, and jails run on: the next one looks after these too.
      if (wasReady && !closed) ready().catch(() => undefined); // the next jail says why there is none
    };
    const starting = new Promise<ChildProcess>((resolve, reject) => {
      child.stdout.once('data', () => {
        // It keeps no program from ending: that is what the guard waits for.
        wasReady = true;
        child.unref();
        for (const stream of [child.stdin, child.stdout]) (stream as unknown as { unref(): void }).unref(); // pipes are sockets for Node
        resolve(child);
      });
      child.once('error', reject);
      child.once('exit', () => reject(new Error('it ended at once')));
    });
    child.once('error', gone);
    child.once('exit', gone);
    child.stdin.on('error', () => undefined); // its end is heard of
    return starting;
  }

  async function ready(): Promise<void> {
    if (closed) throw new Error('it is closed');
    started ??= start();
    await started;
  }

  return {
    mark,
    ready,
    close() {
      closed = true;
      void started?.then(
        (child) => child.stdin?.end(),
        () => undefined,
      );
    },
  };
}
