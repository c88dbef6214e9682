import { readdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { execPath } from 'node:process';
import type { McpServerDefinition } from '@nexus-agent/protocol';
import { McpServerDefinition as Definition } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createJail } from '#tools';
import { makeToolCall, readCall, said } from '../../testing/index.ts';
import { hostileProgram } from './programs.testkit.ts';
import { startServers, type TestServers, tenant } from './servers.testkit.ts';

const never = new AbortController().signal;
const secrets = [{ name: 'KEPT', value: 'very-secret-words', hosts: ['stdio'], tenants: [tenant] }];
const stdio = { mode: 'jailed', tenants: [tenant], readOnly: [dirname(execPath)] } as const;
const make = (more: Parameters<typeof startServers>[0] = {}) => startServers({ secrets, stdio, connectTimeoutMs: 8_000, ...more });
let servers: TestServers | undefined;

afterEach(() => servers?.close());

const mark = `nexus-mcp-program-test-${process.pid}`;
function programOf(how = 'well', more: Record<string, unknown> = {}): McpServerDefinition {
  const env = { KEPT: { secret: 'KEPT' } };
  const args = ['-e', hostileProgram, how, mark];
  return Definition.parse({ transport: { type: 'stdio', command: execPath, args, env, readOnly: [execPath], ...more } });
}
const call = (text: string, timeoutMs = 10_000) =>
  readCall((servers as TestServers).service, makeToolCall({ toolName: 'fake_echo', input: { text }, timeoutMs })).then(said);

/** Processes of this machine that have the mark in their command line, or were started by one that has. */
function left(): number {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(mark);
      } catch {
        return false;
      }
    }).length;
}

const refusal = await createJail({ clock: systemClock, timers: systemTimers }).refusal();

describe('a program as an MCP server', () => {
  it.each<[string, object, Record<string, unknown>, RegExp]>([
    ['where the operator allows none', { stdio: { ...stdio, mode: 'off' } }, {}, /mcpClient\.stdio\.mode/],
    ['for a tenant that may have none', { stdio: { ...stdio, tenants: ['other'] } }, {}, /mcpClient\.stdio\.tenants/],
    ['with a path that is not granted', {}, { readOnly: ['/etc/passwd'] }, /mcpClient\.stdio\.readOnly/],
    [
      'with a path that leads out of what is granted',
      {},
      { readOnly: [`${dirname(execPath)}/../../../../etc`] },
      /mcpClient\.stdio\.readOnly/,
    ],
    ['with a path that only begins under /usr', {}, { readOnly: ['/usr/../etc/passwd'] }, /mcpClient\.stdio\.readOnly/],
    ['that would be fetched', {}, { command: 'npx', args: ['-y', 'some-server'] }, /no network: install the package/],
    ['with a secret in plain words', {}, { env: { API_KEY: 'abc' } }, /mcpClient\.secrets/],
    ['with what changes what is loaded', {}, { env: { LD_PRELOAD: '/opt/own.so' } }, /LD_PRELOAD changes what programs load/],
    ['with a secret that is none of its own', {}, { env: { KEPT: { secret: 'OTHER' } } }, /no secret "OTHER"/],
  ])('is refused %s [verifies tools.mcp.programs]', async (_what, options, more, message) => {
    servers = make(options);
    await expect(servers.administration.put(tenant, 'fake', programOf('well', more), never)).rejects.toThrow(message);
    expect(servers.rows.size).toBe(0);
  });

  it('is not started where nothing can be jailed [verifies tools.mcp.programs]', async () => {
    servers = make({ jail: createJail({ clock: systemClock, timers: systemTimers, bubblewrap: '/nonexistent/bwrap' }) });
    const added = await servers.administration.put(tenant, 'fake', programOf(), never);
    expect(added).toMatchObject({ state: 'unapproved', live: null, fault: expect.stringMatching(/no process can be jailed here/) });
    expect(left()).toBe(0);
  });
});

if (refusal !== null) describe('in a jail', () => it.skip(`not run: ${refusal}`));
else describe('in a jail', inJail);

function inJail() {
  it('reads what lies under /usr, granted or not [verifies tools.mcp.programs]', async () => {
    servers = make();
    const added = await servers.administration.put(
      tenant,
      'fake',
      programOf('well', { readOnly: [execPath, '/usr/bin/env', '/usr/share'] }),
      never,
    );
    expect(added).toMatchObject({ state: 'ready' });
  });

  const add = (how?: string) => (servers as TestServers).administration.put(tenant, 'fake', programOf(how), never);

  it('sees nothing of the machine but what it was granted, and no network [verifies tools.mcp.programs]', async () => {
    servers = make();
    expect(await add()).toMatchObject({ state: 'ready', live: { server: 'program 1.0.0', protocolVersion: '2025-11-25' } });
    expect(await call('hello')).toBe('said hello');
    expect(await call('look')).toMatch(/^\["\/tmp","very-secret-words",\d,\[[^\]]*"usr"[^\]]*\]\]$/);
    // Of the folders that are closed to it only the one in which Node lies, which it was granted.
    const [, granted] = execPath.split('/');
    const closed = ['root', 'home', 'work', 'var', 'srv', 'opt'].filter((name) => name !== granted);
    expect(await call('look')).not.toMatch(new RegExp(`"(${closed.join('|')})"`));
    expect(await call('net')).toMatch(/ENETUNREACH|EPERM|EACCES/);
  });

  it.each([
    ['prints what is no message', 'garbage'],
    ['says much to stderr', 'stderr'],
  ])('that %s is used all the same [verifies tools.mcp.programs.end]', async (_what, how) => {
    servers = make();
    expect(await add(how)).toMatchObject({ state: 'ready' });
    expect(await call('hello')).toBe('said hello');
  });

  it.each([
    ['never answers', 'silent', /did not take part|in time/],
    ['reads nothing', 'deaf', /did not take part|in time/],
    ['ends at once', 'early', /exit code 3: cannot open \[secret\]/],
  ])('that %s is kept without tools, and why is told without its secrets [verifies tools.mcp.programs.end]', async (_what, how, fault) => {
    servers = make({ connectTimeoutMs: 2_500 });
    expect(await add(how)).toMatchObject({ state: 'unapproved', live: null, fault: expect.stringMatching(fault) });
    expect(left()).toBe(0);
  });

  it.each([
    ['dies within a call', 'die', /whether fake_echo took effect is not known/],
    ['says one line without end', 'line', /is not known/],
    ['says lines without end', 'lines', /is not known/],
    ['starts more processes than it may have, and dies', 'fork', /forked|is not known/],
    ['does not answer a call', 'hang', /is not known/],
  ])('that %s is started anew by the next call [verifies tools.mcp.programs.end]', async (_what, text, outcome) => {
    servers = make({ connectTimeoutMs: 4_000 });
    await add();
    expect(await call(text, 1_500).catch(String)).toMatch(outcome);
    expect(await call('hello').catch(String)).toBe('said hello');
    await servers.close();
    servers = undefined;
    expect(left()).toBe(0);
  });

  it('that ended after an answer is started anew without a word of it [verifies tools.mcp.programs.end]', async () => {
    servers = make();
    await add();
    expect(await call('last')).toBe('goodbye');
    await systemTimers.sleep(500);
    expect(await call('hello')).toBe('said hello');
  });

  it('leaves nothing behind when its connection is closed, though it stays when it should end [verifies tools.mcp.programs.end]', async () => {
    servers = make({ idleMs: 200 });
    await add('stays');
    expect(await call('hello')).toBe('said hello');
    for (let looks = 0; left() > 0 && looks < 100; looks++) await systemTimers.sleep(100);
    expect(left()).toBe(0);
    expect(await call('hello')).toBe('said hello');
  });
}
