import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createJail } from '../../packages/server/src/tools/index.ts';
import { startTestServer, type TestServer } from './support/server.ts';

const reason = await createJail({ clock: systemClock, timers: systemTimers }).refusal();
if (reason !== null) describe('what went wrong elsewhere', () => it.skip(`not run: ${reason}`));
else describe('what went wrong elsewhere', suite);

/** Of programs that agents run, as people reported it of other systems. */
function suite() {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-e2e-jailed-faults-'));
  let server: TestServer;
  let sessionId: string;
  beforeAll(async () => {
    server = await startTestServer({ dataDir, config: { sandbox: { jail: { outputBytes: 200_000, wallMs: 20_000 } } } });
    await server.agent('worker');
    sessionId = await server.session({ agent: 'worker' });
  });
  afterAll(async () => {
    await server.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  const shell = async (input: Record<string, unknown>) => {
    const { body } = await server.call('POST', '/v1/tools/shell/execute', { sessionId, input });
    return body.status === 'ok' ? JSON.parse(String(body.output).split('\n[')[0] ?? '') : body.error;
  };

  it.each([
    ['holds what it prints to open', 'sleep 15 & echo done'],
    ['has left the group of its shell', 'setsid sleep 15 & echo done'],
    ['is silent', 'sleep 15 </dev/null >/dev/null 2>&1 & echo done'],
    ['goes on printing', '(while :; do echo more >&2; sleep 0.2; done) & echo done'],
  ])('a program in the background that %s does not hold its call [verifies tools.jail.gone]', async (_what, command) => {
    const startedAt = performance.now();
    expect(await shell({ command })).toMatchObject({ exitCode: 0, stdout: 'done\n' });
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    const alive = await shell({ command: 'ls /proc | grep -c "^[0-9]"' });
    expect(Number(alive.stdout)).toBeLessThan(8);
  });

  it('a program that waits for what nobody types finds its end', async () => {
    expect(await shell({ command: 'cat; read answer || echo nobody; echo over' })).toMatchObject({ exitCode: 0, stdout: 'nobody\nover\n' });
    expect(await shell({ command: 'cat', stdin: 'typed\r\n' })).toMatchObject({ stdout: 'typed\r\n' });
  });

  it('a program that a signal ended is no success', async () => {
    const killed = await shell({ command: 'kill -SEGV $$' });
    expect(killed.exitCode === 0 && killed.signal === undefined).toBe(false);
    expect(await shell({ argv: ['/bin/sh', '-c', 'kill -9 $$'] })).not.toMatchObject({ exitCode: 0 });
    expect(await shell({ command: 'false | true; exit 3' })).toMatchObject({ exitCode: 3 });
  });

  it('letters that come in pieces, ends of lines and bytes that are no text are told as they are', async () => {
    expect(await shell({ command: `printf '\\360\\237'; sleep 0.3; printf '\\230\\200 gr\\303\\274n\\r\\n'` })).toMatchObject({
      stdout: '😀 grün\r\n',
    });
    expect(await shell({ command: `printf 'a\\377b\\000c'` })).toMatchObject({ stdout: expect.stringMatching(/^a\uFFFDb.?c$/s) });
    const { stdout } = await shell({ command: `i=0; while [ $i -lt 3000 ]; do printf 'grün😀'; i=$((i+1)); done` });
    expect(stdout).toBe('grün😀'.repeat(3_000));
  });

  it('arguments go to a program as they are, whatever a shell would make of them', async () => {
    const odd = ['a b', '$HOME', '`id`', "it's", '"', '*', '-n', '\\', 'zeile\n2', 'ü😀', ''];
    expect((await shell({ argv: ['printf', '<%s>', ...odd] })).stdout).toBe(odd.map((each) => `<${each}>`).join(''));
  });

  it('both ways of printing are told, in full, also where much comes at once', async () => {
    const { stdout, stderr } = await shell({ command: 'seq 1 3000; seq 1 3000 >&2' });
    expect([stdout.split('\n').length, stderr.split('\n').length]).toEqual([3_001, 3_001]);
  });
}
