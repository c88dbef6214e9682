import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createJail } from '../../packages/server/src/tools/index.ts';
import { all, pause, startTestServer, type TestServer } from './support/server.ts';

const reason = await createJail({ clock: systemClock, timers: systemTimers }).refusal();
if (reason !== null) describe('jailed tools', () => it.skip(`not run: ${reason}`));
else describe('jailed tools', suite);

function suite() {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-e2e-jail-'));
  let server: TestServer;
  const site = createServer((request, response) => response.end(`${request.method} ${request.url}`));
  let port = 0;
  beforeAll(async () => {
    await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
    port = (site.address() as AddressInfo).port;
    mkdirSync(join(dataDir, 'policies'));
    writeFileSync(
      join(dataDir, 'policies', 'files.cedar'),
      `@id("no-secrets") forbid (principal, action == Action::"file.read", resource is File) when { resource.path like "secret/*" };
       @id("no-keys") forbid (principal, action == Action::"file.write", resource is File) when { resource.path like "keys/*" };
       @id("no-evil") forbid (principal, action == Action::"net.egress", resource is Host) when { resource.name == "evil.test" };
       @id("no-tunnels") forbid (principal, action == Action::"net.egress", resource is Host) when { resource has scheme && resource.scheme == "tunnel" };`,
    );
    const jail = { outputBytes: 20_000, wallMs: 5_000 };
    server = await startTestServer({ dataDir, config: { sandbox: { jail }, httpFetch: { allowPrivate: [`127.0.0.1:${port}`] } } });
    await server.agent('worker');
  });
  afterAll(async () => {
    await server.verifyRuns();
    await server.close();
    await new Promise((resolve) => site.close(resolve));
    rmSync(dataDir, { recursive: true, force: true });
  });

  const call = (tool: string, input: Record<string, unknown>) =>
    `[[sim tools=${tool}(${Object.entries(input)
      .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
      .join(',')})]]`;
  const sessionOf = (sessionId: string) => ({
    sessionId,
    /** What the calls gave, in their order. */
    async run(...calls: string[]): Promise<string[]> {
      const { run, events } = await server.finish({ sessionId, input: `${calls.join(' ')} [[sim say="done"]]` });
      expect(run.status).toBe('completed');
      return all(events, 'tool.completed').map(({ data }) => said(String(data.output)));
    },
    async files(): Promise<string[]> {
      return (await server.call('GET', `/v1/sessions/${sessionId}/files`)).body.data.map(({ path }: { path: string }) => path);
    },
  });
  const begin = async () => sessionOf(await server.session({ agent: 'worker' }));

  it('a command works on the files of its session, and what it changed is kept with its result [verifies tools.shell.files]', async () => {
    const session = await begin();
    await session.run(call('fs_write', { path: 'in/sales.csv', content: 'jan,10\nfeb,32\n' }));
    const [said] = await session.run(
      call('shell', { command: 'sort -r in/sales.csv > out.csv; mkdir empty; ln -s /etc/passwd link; wc -l < out.csv; exit 4' }),
    );
    expect(JSON.parse((said ?? '').split('\n[')[0] ?? '')).toEqual({ exitCode: 4, stdout: '2\n' });
    expect(said).toMatch(/\[undone: "link"; links/);
    expect(await session.files()).toEqual(['in/sales.csv', 'out.csv']);
    const [read] = await session.run(call('fs_read', { path: 'out.csv' }));
    expect(read).toContain('jan,10\nfeb,32');
    const [removed] = await session.run(call('shell', { argv: ['rm', 'sales.csv'], cwd: 'in' }));
    expect(removed).toBe('{"exitCode":0}');
    expect(await session.files()).toEqual(['out.csv']);
  });

  it('a command that is ended has changed nothing, and the next one finds what was before [verifies tools.shell.files]', async () => {
    const session = await begin();
    await session.run(call('fs_write', { path: 'a.txt', content: 'before' }));
    const [ended] = await session.run(
      call('shell', { command: 'echo after > a.txt; echo x > b.txt; echo said; while :; do echo flood; done' }),
    );
    expect(ended).toMatch(
      /^limit_exceeded: the program printed more than 20000 bytes; the files are as they were\nprinted before: said\nflood/,
    );
    const [next] = await session.run(call('shell', { command: 'cat a.txt; ls' }));
    expect(JSON.parse(next ?? '')).toEqual({ exitCode: 0, stdout: 'beforea.txt\n' });
  });

  it('a run that is cancelled ends its command, and keeps nothing of it', async () => {
    const session = await begin();
    const runId = await server.start({
      sessionId: session.sessionId,
      input: call('shell', { command: 'echo x > a.txt; echo started; sleep 30' }),
    });
    await server.event(runId, 'tool.started');
    await pause(300);
    await server.call('POST', `/v1/runs/${runId}/cancel`);
    await server.until(runId, 'cancelled', 'waiting');
    expect(await session.files()).toEqual([]);
    const [next] = await session.run(call('shell', { command: 'ls' }));
    expect(next).toBe('{"exitCode":0}');
  });

  it('what policy keeps from being read cannot be opened by a program, and what may not be written fails the call [verifies tools.shell.policy]', async () => {
    const session = await begin();
    await session.run(call('fs_write', { path: 'secret/a', content: 'word' }), call('fs_write', { path: 'plain', content: 'seen' }));
    const [said] = await session.run(
      call('shell', { command: 'cat plain secret/a; echo x > secret/a; rm -f secret/a; cp secret/a plain' }),
    );
    const { stdout, stderr } = JSON.parse(said ?? '');
    expect([stdout, stderr]).toEqual(['seen', expect.stringMatching(/secret\/a: Permission denied/)]);
    const [refused] = await session.run(call('shell', { command: 'mkdir keys; echo x > keys/a; echo y > plain' }));
    expect(refused).toMatch(/^policy_denied: "keys\/a"/);
    expect(await session.files()).toEqual(['plain', 'secret/a']);
    expect((await session.run(call('fs_read', { path: 'plain' })))[0]).toContain('seen');
  });

  it('a command reaches the hosts that it names and policy allows, each decided before it starts, and its result says what it did there [verifies tools.egress.decided tools.egress.granted tools.egress.recorded]', async () => {
    const session = await begin();
    const url = `http://127.0.0.1:${port}`;
    const argv = ['python3', '-c', `import urllib.request; print(urllib.request.urlopen("${url}/page").read().decode())`];
    const { run, events } = await server.finish({
      sessionId: session.sessionId,
      input: `${call('shell', { argv, network: [url] })} ${call('shell', { argv })} ${call('shell', { command: 'echo ran', network: ['evil.test'] })} ${call('shell', { command: 'echo ran', network: [`127.0.0.1:${port}`] })} [[sim say="done"]]`,
    });
    const [given, without, refused, tunnel] = all(events, 'tool.completed').map(({ data }) => said(String(data.output)));
    expect(JSON.parse(given ?? '')).toEqual({
      ...{ exitCode: 0, stdout: 'GET /page\n' },
      network: {
        connections: [
          {
            ...{ kind: 'http', host: '127.0.0.1', port, method: 'GET', address: '127.0.0.1', sentBytes: 0, receivedBytes: 9 },
            ...{ durationMs: expect.any(Number), outcome: 'ok' },
          },
        ],
      },
    });
    expect(without).toMatch(/Connection refused/);
    expect(refused).toMatch(/^policy_denied: .*no-evil/);
    expect(tunnel).toMatch(/^policy_denied: .*no-tunnels/);
    const { body } = await server.call('GET', `/v1/runs/${run.id}/decisions`);
    const egress = body.data.filter(({ action }: { action: string }) => action === 'net.egress');
    expect(egress.map(({ effect }: { effect: string }) => effect).sort()).toEqual(['allow', 'deny', 'deny']);
  });

  it('Python gives the value of its last expression and what it printed, over the files of the session [verifies tools.python.value]', async () => {
    const session = await begin();
    const code = 'print("rows", len(input))\nopen("sum.txt", "w").write("x")\n{"sum": sum(input), "mean": sum(input) / len(input)}';
    const [said] = await session.run(call('code_python', { code, input: [10, 32] }));
    expect(JSON.parse(said ?? '')).toEqual({ value: { sum: 42, mean: 21 }, logs: 'rows 2\n' });
    expect(await session.files()).toEqual(['sum.txt']);
  });

  it('Python says what its value is where that is no JSON, and what is wrong with code and where [verifies tools.python.value]', async () => {
    const codes = [
      'x = 1',
      'class A:\n  def __repr__(self): return "an A"\n[float("nan")] and A()',
      'def f():\n  return 1 / 0\nf()',
      'def f(:',
      'import sys\nsys.exit(3)',
      'import os\nos._exit(0)',
    ];
    expect(await (await begin()).run(...codes.map((code) => call('code_python', { code })))).toEqual([
      '{"value":null}',
      '{"value":"an A"}',
      expect.stringMatching(/^sandbox_code_error: Traceback.*line 3, in <module>\n.*line 2, in f\n.*ZeroDivisionError: division by zero/s),
      expect.stringMatching(/^sandbox_code_error: .*line 1.*SyntaxError/s),
      expect.stringMatching(/^sandbox_code_error: the code ended early\n\[exit code 3\]/),
      '{"value":null}',
    ]);
  });
}

/** As a model is told it; an error in a line of its own. */
function said(output: string): string {
  if (!output.startsWith('{"error"')) return output;
  const { error } = JSON.parse(output);
  return `${error.code}: ${error.message}`;
}
