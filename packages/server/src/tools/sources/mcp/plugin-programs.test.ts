import type { TenantId } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createJail, createSigningKey, fingerprintOfKey, rowNameOfKey } from '#tools';
import { startPlugins } from './plugin-programs.testkit.ts';
import { tenant } from './servers.testkit.ts';

let plugins: ReturnType<typeof startPlugins>;
afterEach(() => plugins.close());

const other = 'ten_2' as TenantId;
const soon = async (what: () => boolean) => {
  for (let looks = 0; !what() && looks < 200; looks++) await systemTimers.sleep(50);
  return what();
};
const allGone = () => soon(() => plugins.alive() === 0 && plugins.folders().length === 0);

const refusal = await createJail({ clock: systemClock, timers: systemTimers }).refusal();

describe('a plugin that is a program', () => {
  it('runs for nobody whom the operator has not named [verifies plugins.programs.granted]', async () => {
    plugins = startPlugins({ tenants: [] });
    await plugins.install();
    expect(await plugins.call('well')).toMatch(/^policy_denied: .*plugins\.programs\.tenants/);
    expect(plugins.folders()).toEqual([]);
  });

  it('is not started where nothing can be jailed [verifies plugins.programs.granted]', async () => {
    plugins = startPlugins({ jail: createJail({ clock: systemClock, timers: systemTimers, bubblewrap: '/nonexistent/bwrap' }) });
    await plugins.install();
    expect(await plugins.call('well')).toMatch(/^sandbox_unavailable: no process can be jailed here/);
    expect(await allGone()).toBe(true);
  });

  it('that would be fetched is refused', async () => {
    plugins = startPlugins();
    await plugins.install({ command: 'npx' });
    expect(await plugins.call('well')).toMatch(/^invalid_request: npx fetches what it runs/);
  });
});

if (refusal !== null) describe('in a jail', () => it.skip(`not run: ${refusal}`));
else describe('in a jail', inJail);

function inJail() {
  it('has its own files, which it cannot change, and nothing else of the machine [verifies plugins.programs.jail]', async () => {
    plugins = startPlugins();
    const digest = await plugins.install();
    expect(await plugins.call('well')).toBe('1 1');
    expect(await plugins.call('well')).toBe('1 2'); // the same process
    expect(plugins.folders()).toEqual([digest]);
    const [, files, env, root, beside] = JSON.parse(await plugins.call('look'));
    expect(files).toEqual(['server.js']);
    expect(env).not.toContain('NEXUS_DATA_DIR');
    expect(env.length).toBeLessThan(10);
    expect(root).toMatch(/ENOENT|EACCES/);
    expect(beside).toEqual([digest]);
    expect(JSON.parse(await plugins.call('write')).slice(0, 4)).toEqual(Array(4).fill(expect.stringMatching(/EROFS|EACCES|EPERM/)));
    expect(await plugins.call('net')).toMatch(/ENETUNREACH|EPERM|EACCES/);
    expect(await plugins.call('well')).toBe('1 6');
  });

  it('is a process of one tenant alone [verifies plugins.programs.jail]', async () => {
    plugins = startPlugins({ tenants: [tenant, other] });
    await plugins.install();
    await plugins.install({ tenantId: other });
    expect(await plugins.call('well')).toBe('1 1');
    expect(await plugins.call('well', { tenantId: other })).toBe('1 1');
    expect(plugins.alive()).toBe(2);
    expect(plugins.folders()).toHaveLength(1); // the same files, which nobody can change
  });

  it.each([
    ['a tool more', 'more', /lists the tool "delete_all", which its manifest does not have/],
    ['a tool less', 'less', /does not list the tool probe/],
    ['a tool twice', 'twice', /lists the tool "probe" twice/],
    ['another description', 'words', /describes the tool probe otherwise than its manifest/],
    ['other arguments', 'schema', /lists another inputSchema of the tool probe/],
    ['another result', 'result', /lists another outputSchema of the tool probe/],
  ])('that lists %s than its manifest is refused [verifies plugins.programs.honest]', async (_what, how, message) => {
    plugins = startPlugins();
    await plugins.install({ how });
    const said = await plugins.call('well');
    expect(said).toMatch(/^conflict: the program of the plugin probe /);
    expect(said).toMatch(message);
    expect(await allGone()).toBe(true);
  });

  it('that says that its tools have changed is not called again: a new one is asked [verifies plugins.programs.honest]', async () => {
    plugins = startPlugins();
    await plugins.install({ how: 'later' });
    expect(await plugins.call('change')).toBe('changed');
    // A new process is asked, which has not been called yet and lists what it should: it is the old one that nobody calls any more.
    await soon(() => plugins.alive() === 0);
    expect(await plugins.call('well')).toBe('1 1');
  });

  it.each([
    ['never answers', 'silent', /tool_failed: .*(did not take part|in time)/],
    ['reads nothing', 'deaf', /tool_failed: .*(did not take part|in time)/],
    ['ends at once', 'early', /tool_failed: .*exit code 3: no such thing/],
  ])('that %s fails its call with the reason, and leaves nothing [verifies plugins.programs.end]', async (_what, how, fault) => {
    plugins = startPlugins({ connectTimeoutMs: 2_500 });
    await plugins.install({ how });
    expect(await plugins.call('well')).toMatch(fault);
    expect(await allGone()).toBe(true);
  });

  it.each([
    ['dies within a call', 'die', {}],
    ['says more than is taken', 'flood', {}],
    ['takes more memory than its manifest asks for', 'memory', { server: 'limits: { memoryBytes: 700000000 }' }],
  ])('that %s is started anew by the next call [verifies plugins.programs.end]', async (_what, what, made) => {
    plugins = startPlugins();
    await plugins.install({ effects: 'once', ...made });
    expect(await plugins.call(what, { timeoutMs: 15_000 })).toMatch(/^tool_outcome_unknown: /);
    expect(await plugins.call('well')).toBe('1 1');
  });

  it('has no more than the server gives, whatever its manifest asks for [verifies plugins.programs.jail]', async () => {
    plugins = startPlugins({
      jailLimits: {
        wallMs: 600_000,
        cpuMs: 60_000,
        memoryBytes: 700_000_000,
        processes: 64,
        files: 256,
        fileBytes: 1_000,
        outputBytes: 4_096,
      },
    });
    await plugins.install({ server: 'limits: { memoryBytes: 100000000000 }' });
    expect(await plugins.call('memory', { timeoutMs: 15_000 })).toMatch(/^tool_failed: /);
  });

  it('ends when nothing called it for long, though it stays when it should end [verifies plugins.programs.end]', async () => {
    plugins = startPlugins({ idleMs: 200 });
    await plugins.install({ how: 'stays' });
    expect(await plugins.call('well')).toBe('1 1');
    expect(await allGone()).toBe(true);
    expect(await plugins.call('well')).toBe('1 1');
  });

  it('is replaced while 50 calls run: all end with the version that they began with, and no call fails [verifies plugins.programs.swap]', async () => {
    plugins = startPlugins();
    const first = await plugins.install();
    const old = Array.from({ length: 50 }, () => plugins.call('wait', { ms: 1_500 }));
    await soon(() => plugins.alive() === 1);
    await systemTimers.sleep(300);
    const second = await plugins.install({ version: '2' });
    const between = Array.from({ length: 20 }, () => plugins.call('wait', { ms: 10 }));
    expect(new Set(await Promise.all(between))).toEqual(new Set(['2']));
    expect(plugins.alive()).toBe(2);
    expect(plugins.folders().sort()).toEqual([first, second].sort());
    expect(new Set(await Promise.all(old))).toEqual(new Set(['1']));
    // The old program ends after its last call, and with it its files.
    expect(await soon(() => plugins.alive() === 1 && plugins.folders().length === 1)).toBe(true);
    expect(plugins.folders()).toEqual([second]);
  });

  it('is removed while 50 calls run: all end well, and nothing of it stays [verifies plugins.programs.swap]', async () => {
    plugins = startPlugins();
    await plugins.install({ how: 'stays' });
    const old = Array.from({ length: 50 }, () => plugins.call('wait', { ms: 1_000 }));
    await soon(() => plugins.alive() === 1);
    await systemTimers.sleep(300);
    await plugins.remove();
    expect(await plugins.call('well')).toMatch(/^tool_not_found/);
    expect(new Set(await Promise.all(old))).toEqual(new Set(['1']));
    expect(await allGone()).toBe(true);
  });

  it('that nobody calls ends at once when it is removed [verifies plugins.programs.swap]', async () => {
    plugins = startPlugins();
    await plugins.install();
    expect(await plugins.call('well')).toBe('1 1');
    await plugins.remove();
    expect(await allGone()).toBe(true);
  });

  it('goes back and forth between versions as often as anybody likes [verifies plugins.programs.swap]', async () => {
    plugins = startPlugins();
    const answers: Promise<string>[] = [];
    for (let turn = 0; turn < 6; turn++) {
      const version = String(1 + (turn % 2));
      await plugins.install({ version });
      for (let calls = 0; calls < 5; calls++) answers.push(plugins.call('wait', { ms: 100 * calls }));
      expect(await plugins.call('wait', { ms: 0 })).toBe(version);
    }
    for (const answer of await Promise.all(answers)) expect(answer).toMatch(/^[12]$/);
    await plugins.remove();
    expect(await allGone()).toBe(true);
  });

  it('whose key is trusted no more ends after its calls, and is not called again [verifies plugins.keys]', async () => {
    const { publicKey } = createSigningKey();
    plugins = startPlugins({ trustedKeys: [publicKey] });
    await plugins.install({ isTrusted: true, signedBy: publicKey });
    const running = plugins.call('wait', { ms: 800 });
    await soon(() => plugins.alive() === 1);
    await systemTimers.sleep(200);
    const name = rowNameOfKey(fingerprintOfKey(publicKey), 'revoked');
    await plugins.store.putToolSource({ tenantId: tenant, kind: 'plugin-key', name, version: 'v', content: {}, createdAt: 1 });
    plugins.source.changed(tenant);
    expect(await plugins.call('well')).toMatch(/^policy_denied: the plugin probe is refused: the key that signed it .* was revoked/);
    expect(await running).toBe('1');
    expect(await allGone()).toBe(true);
  });

  describe('what went wrong elsewhere', () => {
    // The server of a launcher lived on when the launcher was killed.
    it('nothing that a program started outlives it, also in a session of its own [verifies plugins.programs.end]', async () => {
      plugins = startPlugins();
      await plugins.install();
      expect(await plugins.call('spawn')).toBe('spawned');
      expect(await soon(() => plugins.alive() === 2)).toBe(true);
      await plugins.remove();
      expect(await allGone()).toBe(true);
    });

    // A definition that was edited got a new process, and the old one was forgotten.
    it('a plugin that is changed while its program starts leaves no program of before [verifies plugins.programs.swap]', async () => {
      plugins = startPlugins();
      await plugins.install();
      const calls: Promise<string>[] = [];
      for (const version of ['2', '3', '4']) {
        calls.push(plugins.call('wait'));
        await systemTimers.sleep(60); // its program is being started
        await plugins.install({ version });
      }
      calls.push(plugins.call('wait'));
      expect((await Promise.all(calls)).at(-1)).toBe('4');
      expect(await soon(() => plugins.alive() === 1 && plugins.folders().length === 1)).toBe(true);
    });

    // Files were unpacked over those of another plugin, by a name of two.
    it('two plugins of other names never have files in one place [verifies plugins.programs.jail]', async () => {
      plugins = startPlugins();
      const one = await plugins.install();
      const two = await plugins.install({ name: 'other', tool: 'other_probe' });
      expect(await plugins.call('well')).toBe('1 1');
      expect(await plugins.call('well', { tool: 'other_probe' })).toBe('1 1');
      expect(plugins.folders().sort()).toEqual([one, two].sort());
    });
  });
}
