import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createJail, type Jail, type JailDriver, type JailEnd, type JailLimits } from '#tools';
import type { JailRequest } from './jail/types.ts';

const mebibyte = 1024 * 1024;
export const limits: JailLimits = {
  ...{
    wallMs: 20_000,
    cpuMs: 10_000,
    memoryBytes: 256 * mebibyte,
    processes: 32,
    files: 64,
    fileBytes: 8 * mebibyte,
    outputBytes: 100_000,
  },
};
export const never = new AbortController().signal;
export const make = (more: Partial<Parameters<typeof createJail>[0]> = {}) =>
  createJail({ clock: systemClock, timers: systemTimers, ...more });

/** What jails do, whatever is the kernel of their programs. */
export async function describeJails(what: string, driver: JailDriver): Promise<void> {
  const reason = await make({ driver }).refusal();
  if (reason !== null) describe(what, () => it.skip(`not run: ${reason}`));
  else describe(what, () => suite(driver));
}

function suite(driver: JailDriver) {
  const isGvisor = driver === 'gvisor';
  let jail: Jail;
  let folder: string;
  beforeAll(() => {
    jail = make({ driver, folderLimit: { bytes: 24 * mebibyte, files: 500 }, tmpBytes: 16 * mebibyte });
    folder = join(mkdtempSync(join(tmpdir(), 'nexus-jail-test-')), 'files');
    mkdirSync(folder, { mode: 0o700 });
    writeFileSync(join(folder, 'a.txt'), 'of the session', { mode: 0o600 });
  });
  afterAll(async () => {
    await jail.close();
    rmSync(join(folder, '..'), { recursive: true, force: true });
  });
  const sh = (code: string, more: Partial<JailRequest> = {}, signal = never) =>
    jail.run({ argv: ['/bin/sh', '-c', code], folder: { path: folder, writable: true }, limits, ...more }, signal);
  const python = (code: string, more: Partial<JailRequest> = {}) =>
    jail.run({ argv: ['/usr/bin/python3', '-c', code], folder: { path: folder, writable: true }, limits, ...more }, never);

  it('give what a program printed and how it ended', async () => {
    const end = await sh('cat; echo oh >&2; exit 3', { stdin: 'said' });
    expect(end).toMatchObject({ type: 'exited', exitCode: 3, signal: null });
    expect(told(end)).toBe('said|oh\n');
    expect(await sh('kill -TERM $$')).toMatchObject({ type: 'exited', exitCode: 143, signal: 'SIGTERM' });
    expect(told(await jail.run({ argv: ['/nonexistent'], limits }, never))).toMatch(/No such file/);
  });

  it('start where they are told, with nothing in the environment but what is given', async () => {
    mkdirSync(join(folder, 'in', 'it'), { recursive: true });
    process.env.JAIL_TEST_SECRET = 'of the server';
    const end = await sh('pwd; env; cat /proc/*/environ | tr "\\0" "\\n"', { cwd: '/workspace/in/it', env: { WORD: "it's\n$here" } });
    delete process.env.JAIL_TEST_SECRET;
    expect(told(end)).toMatch(/^\/workspace\/in\/it\n/);
    expect(told(end)).toContain("WORD=it's\n$here");
    expect(told(end)).not.toContain('SECRET');
  });

  it('start with their limits, whatever a loader is told in their environment [verifies tools.jail.limits]', async () => {
    // The loader says what it starts: before, it was what sets the limits, into which a program could have code loaded.
    const env = { LD_DEBUG: 'files', n: '1', PATH: '/usr/bin:/bin', EMPTY: '', UID: '7' };
    const end = told(await sh('echo "$n|$EMPTY|$PATH"; env | grep -c NEXUS', { env }));
    expect(end).toMatch(/^1\|\|\/usr\/bin:\/bin\n0\n/);
    if (!isGvisor) expect(end).not.toMatch(/(program|init): \S*prlimit/);
  });

  it('are of no user of this machine, with no right, and have a folder that stays with the server', async () => {
    const end = await sh(
      'id -u; grep -E "^(CapEff|CapBnd|NoNewPrivs|Seccomp):" /proc/self/status; cat a.txt; echo new > b.txt; mkdir -p c; echo x > c/d',
    );
    const none = '0000000000000000';
    // gVisor knows one user, and says nothing of new privileges.
    const [user, more] = isGvisor ? ['0', ''] : ['1000', 'NoNewPrivs:\t1\n'];
    expect(told(end)).toBe(`${user}\nCapEff:\t${none}\nCapBnd:\t${none}\n${more}Seccomp:\t2\nof the session|`);
    expect(readFileSync(join(folder, 'b.txt'), 'utf8')).toBe('new\n');
    expect(readFileSync(join(folder, 'c', 'd'), 'utf8')).toBe('x\n');
    writeFileSync(join(folder, 'b.txt'), 'by the server');
    expect(told(await sh('cat b.txt'))).toBe('by the server|');
  });

  it('change nothing in a folder that is only read, nor in what is added to read', async () => {
    const other = mkdtempSync(join(tmpdir(), 'nexus-jail-other-'));
    writeFileSync(join(other, 'word'), 'to read');
    chmodSync(other, 0o755);
    const readOnly = [
      { path: other, at: '/data' },
      { path: join(other, 'word'), at: '/one/word' },
    ];
    const end = await sh('cat /data/word /one/word; echo x > a.txt; echo x > /data/word; rm /data/word; ls /data', {
      folder: { path: folder, writable: false },
      readOnly,
    });
    expect(told(end)).toMatch(/^to readto readword\n\|.*Read-only.*(Read-only|denied).*(Read-only|denied)/s);
    expect(readFileSync(join(folder, 'a.txt'), 'utf8')).toBe('of the session');
    rmSync(other, { recursive: true });
  });

  it('leave a folder that the server can look through, whatever was locked in it', async () => {
    await sh('mkdir -p locked/in && echo x > locked/in/file && chmod 0 locked/in/file locked/in locked');
    expect(readFileSync(join(folder, 'locked/in/file'), 'utf8')).toBe('x\n');
    rmSync(join(folder, 'locked'), { recursive: true });
  });

  it('leave nothing in a folder that cannot be removed from it again [verifies tools.jail.gone]', async () => {
    const deep =
      'import os\nos.mkdir(b"\\xff\\xfe")\nopen(b"\\xff\\xfe/\\xfd", "w").close()\nos.chmod(b"\\xff\\xfe", 0)\nfor i in range(100):\n  os.mkdir("x" * 200); os.chdir("x" * 200)\nopen("f", "w").close()';
    const { error } = (await python(deep)) as Extract<JailEnd, { type: 'stopped' }>; // the next line fails otherwise
    expect(error).toMatchObject({ code: 'limit_exceeded', details: { limit: 'disk' } });
    expect(readdirSync(folder).filter((name) => name.startsWith('.deep') || !/^[ -~]+$/.test(name))).toEqual([]);
    rmSync(folder, { recursive: true });
    mkdirSync(folder, { mode: 0o700 });
    writeFileSync(join(folder, 'a.txt'), 'of the session', { mode: 0o600 });
    expect(told(await sh('cat a.txt'))).toBe('of the session|');
  });

  describe('end a program that reaches a limit [verifies tools.jail.limits]', () => {
    it.each<[limit: string, code: string, more: Partial<JailLimits>]>([
      ['wall', 'trap "" TERM INT HUP; while :; do sleep 1; done', { wallMs: 600 }],
      ['cpu', '(while :; do :; done) & (while :; do :; done) & (while :; do :; done) & wait', { cpuMs: 900 }],
      ['output', 'while :; do echo flood; done', {}],
      ['disk', 'exec dd if=/dev/zero of=big bs=65536 count=1000 2>/dev/null', {}],
      ['disk', 'for i in 1 2 3 4 5 6; do dd if=/dev/zero of=big$i bs=65536 count=90 2>/dev/null; done; sleep 5', {}],
      ['disk', 'i=0; while test $i -lt 1500; do i=$((i+1)); : > many$i; done; sleep 5', {}],
    ])('%s: %s', async (limit, code, more) => {
      const end = await sh(code, { limits: { ...limits, ...more } });
      expect(end).toMatchObject({ type: 'stopped', error: { code: 'limit_exceeded', details: { limit } } });
      expect(end.stdout.length + end.stderr.length).toBeLessThanOrEqual(limits.outputBytes);
      for (const name of readdirSync(folder)) if (/^(big|many)/.test(name)) rmSync(join(folder, name));
      expect(told(await sh('echo well'))).toBe('well\n|');
    });

    it('of memory: one process is refused more, and many together are ended', async () => {
      const small = { ...limits, memoryBytes: 96 * mebibyte };
      // gVisor counts what is written to.
      if (!isGvisor) expect(told(await python('x = bytearray(200 << 20)', { limits: small }))).toMatch(/MemoryError/);
      const many = 'import os, time\nfor i in range(4):\n  if os.fork() == 0: break\nx = bytearray(60 << 20)\ntime.sleep(10)';
      expect(await python(many, { limits: small })).toMatchObject({ type: 'stopped', error: { details: { limit: 'memory' } } });
    });

    it('of memory that no process has: what is shared counts as a whole, and what nobody would map is refused', async () => {
      const small = { ...limits, memoryBytes: 96 * mebibyte };
      const shares =
        'import mmap, time\nxs = [mmap.mmap(-1, 40 << 20) for i in range(4)]\nfor m in xs:\n  for at in range(0, 40 << 20, 4096): m[at] = 1\n';
      const unseen = `${shares}  m.madvise(mmap.MADV_DONTNEED)\ntime.sleep(5)`;
      expect(await python(unseen, { limits: small })).toMatchObject({ type: 'stopped', error: { details: { limit: 'memory' } } });
      if (isGvisor) return; // all of it is memory of its kernel, which counts
      const sparse =
        'import mmap, time\nm = mmap.mmap(-1, 1 << 37, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)\n';
      const tables = `${sparse}for at in range(0, 1 << 37, 2 << 20): m[at]\ntime.sleep(5)`;
      expect(await python(tables, { limits: small })).toMatchObject({ type: 'stopped', error: { details: { limit: 'memory' } } });
      expect(told(await python('import os\nos.memfd_create("x")'))).toMatch(/PermissionError/);
      const ofSystemV =
        'import ctypes\nc = ctypes.CDLL(None)\nprint(c.shmget(0, 4096, 0o1600), c.semget(0, 1, 0o1600), c.msgget(0, 0o600))';
      expect(told(await python(ofSystemV))).toBe('-1 -1 -1\n|');
    });

    it('of processes, threads and open files: more are refused', async () => {
      expect(told(await sh('for i in $(seq 100); do sleep 5 & done; wait', {}))).toMatch(/fork/i);
      const threads = 'import threading, time\nfor i in range(100): threading.Thread(target=time.sleep, args=(2,), daemon=True).start()';
      expect(told(await python(threads))).toMatch(/can't start new thread/);
      expect(told(await python('fs = [open("/dev/null") for i in range(200)]'))).toMatch(/Too many open files/);
    });
  });

  it('end with all that the program left behind [verifies tools.jail.gone]', async () => {
    const mark = `left-${process.pid}-${Date.now()}`;
    const left = `(setsid sh -c "sleep 1; echo ${mark} > late" >/dev/null 2>&1 </dev/null &)`;
    expect(told(await sh(`${left}; echo done`))).toBe('done\n|');
    expect(await commandLines()).not.toContain(mark);
    await systemTimers.sleep(1_200);
    expect(existsSync(join(folder, 'late'))).toBe(false);
  });

  it('end at once when they are cancelled, in every phase [verifies tools.jail.gone]', async () => {
    expect(await sh('echo x > never', {}, AbortSignal.abort())).toMatchObject({ type: 'stopped', error: { code: 'cancelled' } });
    expect(existsSync(join(folder, 'never'))).toBe(false);
    const mark = `cancelled${Date.now()}`;
    for (const afterMs of isGvisor ? [0, 10, 30, 60, 90, 120, 160, 250] : [0, 1, 3, 6, 10, 20, 40, 80]) {
      const controller = new AbortController();
      const ended = sh(`trap "" TERM; (setsid sleep 30 &) ; sleep 30; echo ${mark}`, {}, controller.signal);
      await systemTimers.sleep(afterMs);
      controller.abort();
      expect(await ended).toMatchObject({ type: 'stopped', error: { code: 'cancelled' } });
    }
    expect(await commandLines()).not.toContain(mark);
  });

  it('leave nothing behind after many calls [verifies tools.jail.gone]', async () => {
    const before = { files: readdirSync('/proc/self/fd').length, temporary: readdirSync(tmpdir()).length, mounts: mounts() };
    for (let round = 0; round < 5; round++) {
      await Promise.all(
        Array.from({ length: 4 }, (_, index) => sh(index % 2 === 0 ? 'sleep 30' : 'true', { limits: { ...limits, wallMs: 200 } })),
      );
    }
    expect(readdirSync('/proc/self/fd').length).toBeLessThan(before.files + 5);
    expect(readdirSync(tmpdir()).length).toBeLessThan(before.temporary + 10);
    expect(mounts()).toBe(before.mounts);
  });

  it('serve a program that lives on, by its streams, until it is killed [verifies tools.jail.gone]', async () => {
    const heard: string[] = [];
    const argv = ['/bin/sh', '-c', 'echo ready >&2; while read line; do echo "heard $line"; done; echo over'];
    const lasting = { ...limits, wallMs: Number.POSITIVE_INFINITY, cpuMs: Number.POSITIVE_INFINITY };
    const onOutput = (_stream: string, bytes: Uint8Array) => heard.push(text(bytes));
    const child = await jail.spawn({ argv, limits: lasting, onOutput }, never);
    child.stdin.write('one\n');
    expect(text((await once(child.stdout, 'data'))[0])).toBe('heard one\n');
    expect(heard.join('')).toBe('ready\n');
    child.stdin.end('two\n');
    const rest: string[] = [];
    for await (const chunk of child.stdout) rest.push(text(chunk));
    expect(rest.join('')).toBe('heard two\nover\n');
    expect(await child.ended).toMatchObject({ type: 'exited', exitCode: 0 });

    const killed = await jail.spawn({ argv: ['/bin/sh', '-c', 'trap "" TERM; while :; do sleep 1; done'], limits: lasting }, never);
    killed.kill();
    killed.kill();
    expect(await killed.ended).toMatchObject({ type: 'stopped', error: { code: 'cancelled' } });
    const controller = new AbortController();
    // What it prints is read by nobody, and keeps nobody waiting.
    const flooding = await jail.spawn({ argv: ['/bin/sh', '-c', 'while :; do echo flood; done'], limits: lasting }, controller.signal);
    await systemTimers.sleep(100);
    controller.abort();
    expect(await flooding.ended).toMatchObject({ type: 'stopped', error: { code: 'cancelled' } });
  });

  it('are all ended when the server closes them, and none begins afterwards', async () => {
    const closing = make({ driver });
    const running = closing.run({ argv: ['/bin/sh', '-c', 'sleep 30'], limits }, never);
    const living = await closing.spawn({ argv: ['/bin/sh', '-c', 'sleep 30'], limits }, never);
    await closing.close();
    expect(await running).toMatchObject({ type: 'stopped', error: { code: 'sandbox_unavailable' } });
    expect(await living.ended).toMatchObject({ type: 'stopped' });
    expect(await closing.run({ argv: ['/bin/true'], limits }, never)).toMatchObject({ error: { code: 'sandbox_unavailable' } });
  });

  it('are looked after again once what ends them with the server was killed [verifies tools.jail.gone]', async () => {
    const guards = () =>
      readdirSync('/proc').filter((pid) => {
        if (!/^\d+$/.test(pid)) return false;
        try {
          const [, parent] = readFileSync(`/proc/${pid}/stat`, 'latin1')
            .replace(/^.*\) /s, '')
            .split(' ');
          return Number(parent) === process.pid && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('NEXUS_JAILS');
        } catch {
          return false;
        }
      });
    const before = guards();
    const own = make({ driver });
    expect(told(await own.run({ argv: ['/bin/sh', '-c', 'echo here'], limits }, never))).toBe('here\n|');
    const [first = '', ...more] = guards().filter((pid) => !before.includes(pid));
    expect(more).toEqual([]);
    const next = () => guards().find((pid) => pid !== first && !before.includes(pid));
    process.kill(Number(first), 'SIGKILL');
    for (let looks = 0; looks < 200 && next() === undefined; looks++) await systemTimers.sleep(20);
    expect(next()).toBeDefined();
    await own.close();
    for (let looks = 0; looks < 200 && next() !== undefined; looks++) await systemTimers.sleep(20);
    expect(next()).toBeUndefined();
  });

  it('end with a server that is killed, in every phase [verifies tools.jail.gone]', async () => {
    const program = `import { createJail } from '#tools'; import { systemClock, systemTimers } from '#core';
      const jail = createJail({ clock: systemClock, timers: systemTimers, driver: '${driver}' });
      await jail.refusal(); console.log('begins');
      await jail.run({ argv: ['/bin/sh', '-c', '(setsid sh -c "sleep 60" &); echo here; sleep 60'], limits: ${JSON.stringify(limits)},
        onOutput: () => console.log('runs') }, new AbortController().signal);`;
    const temporary = readdirSync(tmpdir());
    for (const when of isGvisor ? ['runs', 0, 20, 50, 100] : ['runs', 5]) {
      const server = spawn(process.execPath, ['--conditions=nexus-source', '--input-type=module', '-e', program], {
        cwd: fileURLToPath(new URL('../../..', import.meta.url)),
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let said = '';
      server.stdout.on('data', (bytes: Uint8Array) => {
        said += text(bytes);
      });
      const wanted = when === 'runs' ? 'runs' : 'begins';
      while (!said.includes(wanted)) await systemTimers.sleep(5);
      if (typeof when === 'number') await systemTimers.sleep(when);
      const family = descendantsOf(server.pid ?? 0);
      if (when === 'runs') expect(family.length).toBeGreaterThan(isGvisor ? 6 : 3);
      server.kill('SIGKILL');
      await once(server, 'exit');
      const left = () => family.filter(isThere);
      for (let looks = 0; looks < 250 && left().length > 0; looks++) await systemTimers.sleep(20);
      expect(left(), `killed at ${when}`).toEqual([]);
    }
    // What others make meanwhile is none of ours.
    expect(readdirSync(tmpdir()).filter((name) => !temporary.includes(name) && /runsc|jail-[^t]/.test(name))).toEqual([]);
    expect(existsSync('/run/runsc')).toBe(false);
  }, 60_000);

  it('run beside one another, each with processes and limits of its own', async () => {
    const ends = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        jail.run({ argv: ['/bin/sh', '-c', `for i in $(seq 20); do sleep 0.3 & done; wait; echo ${index}`], limits }, never),
      ),
    );
    expect(ends.map(told)).toEqual(['0\n|', '1\n|', '2\n|', '3\n|', '4\n|', '5\n|']);
  });

  it('follow no link of the folder when they take it over', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'nexus-jail-outside-'));
    writeFileSync(join(outside, 'mine'), 'x');
    symlinkSync(outside, join(folder, 'link'));
    const before = (await promisify(execFile)('stat', ['-c', '%u %Z', outside, join(outside, 'mine')])).stdout;
    expect(told(await sh('cat link/mine'))).toMatch(/No such file/);
    expect((await promisify(execFile)('stat', ['-c', '%u %Z', outside, join(outside, 'mine')])).stdout).toBe(before);
    rmSync(join(folder, 'link'));
    rmSync(outside, { recursive: true });
  });
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8');
}

function told(end: JailEnd): string {
  return `${text(end.stdout)}|${text(end.stderr)}${end.type === 'stopped' ? end.error.message : ''}`;
}

function mounts(): number {
  return readFileSync('/proc/self/mounts', 'utf8').split('\n').length;
}

/** Of all processes of this machine. */
async function commandLines(): Promise<string> {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  return pids.map(commandLine).join('\n');
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

/** All that comes from a process but what ends jails with it, by number, when it began, and name. */
function descendantsOf(pid: number): readonly string[] {
  const all = readdirSync('/proc').flatMap((name) => {
    const [, parent, began] = /^\d+$/.test(name) ? statOf(name) : [];
    const line = commandLine(name);
    return parent === undefined || line.includes('NEXUS_JAILS') ? [] : [{ name, parent, began, line }];
  });
  const below = (of: string): string[] =>
    all.filter(({ parent }) => parent === of).flatMap(({ name, began, line }) => [`${name} ${began} ${line}`, ...below(name)]);
  return below(String(pid));
}

/** What a process is: its state, its parent, and when it began. */
function statOf(pid: string): readonly [state: string, parent: string, began: string] | readonly [] {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    return [fields[0] ?? '', fields[1] ?? '', fields[19] ?? ''];
  } catch {
    return [];
  }
}

function isThere(process: string): boolean {
  const [pid = '', began] = process.split(' ');
  const [state, , now] = statOf(pid);
  return state !== undefined && state !== 'Z' && now === began;
}
