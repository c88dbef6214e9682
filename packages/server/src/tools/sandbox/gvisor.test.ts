import { afterAll, describe, expect, it } from 'vitest';
import { describeJails, limits, make, never } from './jail.testkit.ts';

await describeJails('jails with gVisor', 'gvisor');

it('say what is missing where there is no gVisor, and run nothing in a weaker jail [verifies tools.jail.refused tools.jail.kernel]', async () => {
  const jail = make({ driver: 'gvisor', runsc: '/nonexistent/runsc' });
  expect(await jail.refusal()).toMatch(/^gVisor is not installed at \/nonexistent\/runsc: install runsc|^bubblewrap is not|^processes are/);
  const end = await jail.run({ argv: ['/bin/sh', '-c', 'echo ran'], limits }, never);
  expect(end).toMatchObject({ type: 'stopped', error: { code: 'sandbox_unavailable', retryable: false } });
  expect(end.stdout.length).toBe(0);
  await expect(jail.spawn({ argv: ['/bin/sh'], limits }, never)).rejects.toMatchObject({ code: 'sandbox_unavailable' });
  await jail.close();
});

it('refuse a runsc that does not work, or only seems to [verifies tools.jail.refused]', async () => {
  for (const runsc of ['/bin/false', '/bin/true', '/bin/echo']) {
    const jail = make({ driver: 'gvisor', runsc });
    expect(await jail.refusal(), runsc).toMatch(/^a jail with gVisor \(systrap\) was tried and failed|^bubblewrap is not|^processes are/);
    await jail.close();
  }
});

const reason = await make({ driver: 'gvisor' }).refusal();

const notRun = reason === null ? '' : `, not run: ${reason}`;
describe.skipIf(reason !== null)(`what went wrong elsewhere${notRun} [verifies tools.jail.kernel]`, () => {
  const jail = make({ driver: 'gvisor' });
  afterAll(() => jail.close());
  const small = { ...limits, memoryBytes: 96 * 1024 * 1024 };
  const python = (code: string, more = {}) => jail.run({ argv: ['/usr/bin/python3', '-c', code], limits: small, ...more }, never);

  it.each([
    ['one value', 'x = b"a" * (600 << 20)\nimport time; time.sleep(5)'],
    ['many small ones', 'xs = []\nfor i in range(100000): xs.append(" " * 10**6 + str(i))'],
    ['memory that is shared', 'import mmap, time\nm = mmap.mmap(-1, 600 << 20)\nfor i in range(0, len(m), 4096): m[i] = 1\ntime.sleep(5)'],
    [
      'files in memory',
      // As fast as it can it would come to the wall behind the looks, where it is refused more in its own words.
      'import time\nfor i in range(200):\n  with open(f"/dev/f{i}", "wb") as f: f.write(b"x" * (7 << 20))\n  time.sleep(0.02)\ntime.sleep(5)',
    ],
  ])('memory of programs had no limit where no cgroup holds it: %s', async (_what, code) => {
    expect(await python(code)).toMatchObject({ type: 'stopped', error: { code: 'limit_exceeded', details: { limit: 'memory' } } });
  });

  it('a program took its end for one of gVisor, and an end of gVisor was taken for its own', async () => {
    expect(await python('import sys; print("running container: it broke"); sys.exit(128)')).toMatchObject({
      type: 'exited',
      exitCode: 128,
    });
    expect(await python('import sys; sys.exit(1)')).toMatchObject({ type: 'exited', exitCode: 1 });
    // It is taken at its word, and has failed its own call.
    const lies = 'import sys; sys.stderr.write("running container: it broke\\n"); sys.exit(128)';
    expect(await python(lies)).toMatchObject({ type: 'stopped', error: { code: 'sandbox_unavailable' } });
  });

  it('a program that is not there was a failure of the sandbox', async () => {
    const end = await jail.run({ argv: ['nosuchprogram'], limits }, never);
    expect(end).toMatchObject({ type: 'exited', exitCode: 127 });
  });

  it('sockets, state and settings of gVisor were seen by programs', async () => {
    const end = await python(
      'import os\nfor root in ("/run", "/tmp", "/var/run"):\n  for at, _, names in os.walk(root):\n    for name in names: print(at, name)\nprint(open("/proc/1/cmdline").read().replace("\\0", " "))\nprint(open("/proc/1/environ").read().count("NEXUS"))',
    );
    expect(Buffer.from(end.stdout).toString()).toMatch(/^\/usr\/bin\/python3 -c .*\n0\n$/s);
  });

  it('bytes of all kinds, many of them, come in and go out as they are', async () => {
    const bytes = Buffer.from(Array.from({ length: 90_000 }, (_, index) => (index * 7) % 256));
    const end = await jail.run({ argv: ['/bin/cat'], stdin: bytes, limits }, never);
    expect(Buffer.compare(Buffer.from(end.stdout), bytes)).toBe(0);
  });
});
