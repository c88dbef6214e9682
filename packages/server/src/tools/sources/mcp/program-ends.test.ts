import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { execPath } from 'node:process';
import { McpServerDefinition as Definition, type McpServerDefinition } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createJail, type Jail } from '#tools';
import { makeToolCall, readCall, said } from '../../testing/index.ts';
import { hostileProgram } from './programs.testkit.ts';
import { createPrograms } from './programs.ts';
import { startServers, type TestServers, tenant } from './servers.testkit.ts';

const never = new AbortController().signal;
/** Where npm installed what the programs import, links followed. */
const packages = join(dirname(createRequire(import.meta.url).resolve('zod')), '..');
const stdio = { mode: 'jailed', tenants: [tenant], readOnly: [dirname(execPath), packages] } as const;
const mark = `nexus-mcp-ends-test-${process.pid}`;
let servers: TestServers | undefined;
/** How often a program was started. */
let starts = 0;

function make(more: Parameters<typeof startServers>[0] = {}): void {
  starts = 0;
  const jail = createJail({ clock: systemClock, timers: systemTimers });
  const counting: Jail = {
    ...jail,
    spawn: (request, signal) => {
      starts += 1;
      return jail.spawn(request, signal);
    },
  };
  servers = startServers({ jail: counting, stdio, connectTimeoutMs: 8_000, ...more });
}

afterEach(async () => {
  await servers?.close();
  servers = undefined;
  await expect.poll(left, { timeout: 5_000 }).toBe(0);
});

function definition(args: readonly string[], more: Record<string, unknown> = {}): McpServerDefinition {
  return Definition.parse({ transport: { type: 'stdio', command: execPath, args: [...args, mark], readOnly: [execPath], ...more } });
}
const programOf = (how: string) => definition(['-e', hostileProgram, how]);
const put = (wanted: McpServerDefinition) => (servers as TestServers).administration.put(tenant, 'fake', wanted, never);
const add = (how: string) => put(programOf(how));
const call = (text: string, timeoutMs = 10_000) =>
  readCall((servers as TestServers).service, makeToolCall({ toolName: 'fake_echo', input: { text }, timeoutMs })).then(said);
const outcome = (text: string) => call(text).catch((error: unknown) => String(error));

/** Processes of this machine that have the mark in their command line, or sleep for its programs. */
function left(): number {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
        return line.includes(mark) || line === '/bin/sleep\x300\0';
      } catch {
        return false;
      }
    }).length;
}

const refusal = await createJail({ clock: systemClock, timers: systemTimers }).refusal();
if (refusal !== null) describe('programs that end', () => it.skip(`not run: ${refusal}`));
else describe('programs that end', suite);

function suite() {
  describe('when they are to', () => {
    const jail = createJail({ clock: systemClock, timers: systemTimers });
    const limits = {
      ...{ wallMs: 60_000, cpuMs: 20_000, memoryBytes: 1024 ** 3, processes: 64, files: 256, fileBytes: 1024 ** 2, outputBytes: 4_096 },
    };
    const programs = createPrograms({ jail, settings: stdio, limits, timers: systemTimers, secretFor: () => '' });

    it.each([
      ['by the end of their input', 'well', { type: 'exited', exitCode: 0 }, 0],
      ['by SIGTERM a second later', 'polite', { type: 'exited', exitCode: 42 }, 900],
      ['by SIGKILL a second after that', 'stubborn', { type: 'stopped', error: { code: 'cancelled' } }, 1_900],
      ['whatever they still say', 'late', { type: 'exited', exitCode: 0 }, 0],
    ])('are ended %s [verifies tools.mcp.programs.ends]', async (_what, how, end, least) => {
      const { transport } = programOf(how);
      if (transport.type !== 'stdio') throw new Error('it is a program');
      const program = await programs.start(tenant, transport, never);
      program.process.stdout.resume();
      program.process.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize' })}\n`);
      await new Promise((resolve) => program.process.stdout.once('data', resolve));
      const before = performance.now();
      await program.end();
      expect(await program.process.ended).toMatchObject(end);
      expect(performance.now() - before).toBeGreaterThanOrEqual(least);
      expect(left()).toBe(0);
    });
  });

  describe('by themselves', () => {
    it.each([
      ['in each call', 'well', 'die', 3],
      ['once they have listed their tools', 'listed', 'x', 4],
    ])('%s are not started in a loop, and it is said when they are [verifies tools.mcp.programs.ends]', async (_what, how, text, most) => {
      make();
      await add(how);
      starts = 0;
      const outcomes: string[] = [];
      for (let calls = 0; calls < 20; calls++) outcomes.push(await outcome(text));
      expect(starts).toBeLessThanOrEqual(most);
      expect(outcomes.at(-1)).toMatch(/ended by itself \d times without doing anything; the MCP server is tried again in \d+ s/);
    });

    it('right after the handshake are kept without tools, and not started in a loop [verifies tools.mcp.programs.ends]', async () => {
      make();
      expect(await add('closed')).toMatchObject({ state: 'unapproved', fault: expect.stringMatching(/exit code 4/) });
    });

    it('work at once when they work again, and so after a person has looked [verifies tools.mcp.programs.ends]', async () => {
      make();
      await add('well');
      for (let calls = 0; calls < 2; calls++) expect(await outcome('die')).toMatch(/is not known/);
      expect(await outcome('hello')).toMatch(/tried again in 1 s/);
      await systemTimers.sleep(1_100);
      expect(await outcome('hello')).toBe('said hello');
      // What it did counts: the next end is the first one again.
      expect(await outcome('die')).toMatch(/is not known/);
      expect(await outcome('hello')).toBe('said hello');
      for (let calls = 0; calls < 2; calls++) await outcome('die');
      expect(await outcome('hello')).toMatch(/tried again/);
      await (servers as TestServers).administration.inspect(tenant, 'fake', never);
      expect(await outcome('hello')).toBe('said hello');
    });
  });

  describe('what went wrong elsewhere', () => {
    it('a process that outlives the program and holds its pipes keeps no call waiting, and is gone [verifies tools.mcp.programs.ends]', async () => {
      make();
      await add('well');
      const before = performance.now();
      expect(await outcome('heir')).toMatch(/is not known/);
      expect(performance.now() - before).toBeLessThan(5_000);
      await expect.poll(left, { timeout: 5_000 }).toBe(0);
      expect(await outcome('hello')).toBe('said hello');
    });

    it('half a line and then nothing takes no longer than connecting may [verifies tools.mcp.programs.ends]', async () => {
      make({ connectTimeoutMs: 2_000 });
      expect(await add('half')).toMatchObject({ state: 'unapproved', fault: expect.stringMatching(/did not take part|in time/) });
      expect(left()).toBe(0);
    });

    it('stderr that never rests holds up no call [verifies tools.mcp.programs.ends]', async () => {
      make();
      expect(await add('noise')).toMatchObject({ state: 'ready' });
      for (let calls = 0; calls < 5; calls++) expect(await outcome('hello')).toBe('said hello');
    });
  });

  describe('and the revisions of the protocol', () => {
    const sdk = (name: string) => join(packages, '@modelcontextprotocol', name);
    const real = (source: string, more: object = {}) =>
      definition(['--input-type=module', '-e', source], { readOnly: [execPath, packages], ...more });
    const register = `server.registerTool('echo', { description: 'echoes', inputSchema: INPUT }, async ({ text }) => ({ content: [{ type: 'text', text: 'said ' + text }] }));`;
    const zod = `import { z } from '${join(packages, 'zod/index.js')}';`;
    const modern = (options: string) => `${zod}
      import { McpServer } from '${sdk('server/dist/index.mjs')}';
      import { serveStdio } from '${sdk('server/dist/stdio.mjs')}';
      serveStdio(() => { const server = new McpServer({ name: 'modern', version: '2.0.0' }); ${register.replace('INPUT', 'z.object({ text: z.string() })')} return server; }, ${options});`;
    const former = `${zod}
      import { McpServer } from '${sdk('sdk/dist/esm/server/mcp.js')}';
      import { StdioServerTransport } from '${sdk('sdk/dist/esm/server/stdio.js')}';
      const server = new McpServer({ name: 'former', version: '1.0.0' }); ${register.replace('INPUT', '{ text: z.string() }')}
      await server.connect(new StdioServerTransport());`;

    it.each([
      ['2026-07-28', 'the later one only', modern(`{ legacy: 'reject' }`)],
      ['2026-07-28', 'both', modern('{}')],
      ['2025-11-25', 'the former one only', former],
    ])('a program of the SDK speaks %s where it knows %s [verifies tools.mcp.programs.revisions]', async (revision, _what, source) => {
      make();
      expect(await put(real(source))).toMatchObject({ state: 'ready', live: { protocolVersion: revision } });
      expect(await outcome('hello')).toBe('said hello');
      expect(await outcome('again')).toBe('said again');
      expect(starts).toBe(2); // one to look at it, one for both calls
    });

    it('one that ends itself when asked for the later is asked for the former at once from then on [verifies tools.mcp.programs.revisions]', async () => {
      make({ idleMs: 100 });
      expect(await add('touchy')).toMatchObject({ state: 'ready', live: { protocolVersion: '2025-11-25' } });
      expect(starts).toBe(2);
      expect(await outcome('hello')).toBe('said hello');
      expect(starts).toBe(3);
    });

    it('one that says nothing when asked for the later is waited for once [verifies tools.mcp.programs.revisions]', async () => {
      make({ connectTimeoutMs: 10_000 });
      expect(await add('mute')).toMatchObject({ state: 'ready' });
      const before = performance.now();
      expect(await outcome('hello')).toBe('said hello');
      expect(performance.now() - before).toBeLessThan(4_500);
    });

    it('one that ends itself whatever it is asked is tried in both, and no more [verifies tools.mcp.programs.revisions]', async () => {
      make();
      expect(await add('early')).toMatchObject({ state: 'unapproved', fault: expect.stringMatching(/exit code 3/) });
      expect(starts).toBe(2);
    });
  });
}
