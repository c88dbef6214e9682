import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createJail, packTarball } from '../../packages/server/src/tools/index.ts';
import { type NodeProcess, runNexus, startNode } from './support/node-process.ts';

const example = fileURLToPath(new URL('../../examples/plugins/dates-mcp', import.meta.url));
const reason = await createJail({ clock: systemClock, timers: systemTimers }).refusal();
if (reason !== null) describe('programs as plugins', () => it.skip(`not run: ${reason}`));
else describe('programs as plugins', suite);

function suite() {
  let folder: string;
  let plugin: string;
  let node: NodeProcess;
  const mark = `nexus-plugin-e2e-${process.pid}`;
  /** As it comes, but for an argument by which its process is known. */
  const restore = () => {
    cpSync(example, plugin, { recursive: true });
    const manifest = join(plugin, 'plugin.yaml');
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(/args: .*/, `args: [server.js, ${mark}]`));
  };
  const env = () => ({ NEXUS_DATA_DIR: folder, HOME: folder, NEXUS_CONFIG: join(folder, 'nexus.config.json') });
  const nexus = (...words: string[]) => runNexus(words, { NEXUS_URL: node.url, HOME: folder });

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nexus-plugin-programs-'));
    plugin = join(folder, 'dates-mcp');
    restore();
    writeFileSync(env().NEXUS_CONFIG, JSON.stringify({ plugins: { programs: { tenants: ['default'] } } }));
    node = await startNode(folder, env());
  }, 30_000);

  afterAll(async () => {
    await node.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  const unpacked = () => {
    const root = join(folder, 'plugins');
    return existsSync(root) ? readdirSync(root) : [];
  };
  const alive = () =>
    readdirSync('/proc').filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(mark);
      } catch {
        return false;
      }
    });

  async function ran(input: string) {
    const { body: run } = await node.call('POST', '/v1/runs', { agent: 'planner', input });
    const outcome = async () => (await node.call('GET', `/v1/runs/${run.id}`)).body;
    for (let looks = 0; !['completed', 'failed'].includes((await outcome()).status) && looks < 100; looks++) await sleep(100);
    return outcome();
  }
  const ask = '[[sim tools=days_between(from="2026-01-01",to="2026-02-01")]] [[sim say="{{result}}"]]';

  it('is made, signed, trusted, installed and used by an agent, all by the command [verifies plugins.programs.jail] [verifies plugins.keys]', async () => {
    const key = join(folder, 'author.pem');
    const publicKey = (await nexus('plugin', 'keygen', key)).out.trim();
    expect((await nexus('plugin', 'sign', plugin, '--key', key)).code).toBe(0);
    expect(await nexus('plugin', 'install', plugin, '--accept')).toMatchObject({ code: 3, err: expect.stringMatching(/trust its key/) });
    expect((await nexus('plugin', 'trust', 'add', publicKey, '--name', 'The author')).code).toBe(0);
    const installed = await nexus('plugin', 'install', plugin, '--accept');
    expect(installed).toMatchObject({ code: 0, out: 'dates-mcp 1.0.0 is installed\n' });
    expect(installed.err).toMatch(/T2, 4 KiB, signed by a trusted key \(The author\)/);
    expect(installed.err).toMatch(/runs node server\.js \S+ in a jail without network/);
    // To its end, as models are told it.
    expect(installed.err).toMatch(/days_between \(effects: none\) uses process\.run: Counts the days .* without the last one\.\n/);
    expect((await nexus('plugin', 'list')).out).toMatch(
      /dates-mcp +1\.0\.0 +T2 +trusted +The author +4 KiB +days_between add_workdays +process\.run/,
    );
    expect((await nexus('plugin', 'trust', 'list')).out).toMatch(/The author +trusted +[0-9a-f]{32} +\S{44} +tenant/);
    expect(alive()).toEqual([]); // nothing of it has run
    const agent = {
      name: 'planner',
      models: ['sim/sim-large'],
      tools: ['days_between', 'add_workdays'],
      policy: { allow: ['days_between', 'add_workdays'] },
    };
    await node.call('POST', '/v1/agents', agent);
    expect(await ran(ask)).toMatchObject({ status: 'completed', output: expect.stringMatching(/"days":31,"workdays":22/) });
    expect(alive().length).toBeGreaterThan(0);
  }, 60_000);

  it('shows how the next version differs, and takes its place while the old one ends [verifies plugins.replace]', async () => {
    const manifest = join(plugin, 'plugin.yaml');
    writeFileSync(
      manifest,
      readFileSync(manifest, 'utf8')
        .replace('version: 1.0.0', 'version: 1.1.0')
        .replace(/limits: .*/, 'limits: { processes: 64 }'),
    );
    expect((await nexus('plugin', 'install', plugin, '--accept')).code).not.toBe(0); // its signature is that of the former
    expect((await nexus('plugin', 'sign', plugin, '--key', join(folder, 'author.pem'))).code).toBe(0);
    const before = alive();
    const installed = await nexus('plugin', 'install', plugin, '--accept');
    expect(installed.err).toMatch(
      /in the place of 1\.0\.0 \(! marks what it could not do before\):\n {2}! limits: .*"cpuMs":60000.* -> {"processes":64}/,
    );
    expect(await ran(ask)).toMatchObject({ status: 'completed', output: expect.stringMatching(/"days":31/) });
    await expect.poll(() => alive().filter((pid) => before.includes(pid)), { timeout: 5_000 }).toEqual([]);
    restore();
    expect((await nexus('plugin', 'sign', plugin, '--key', join(folder, 'author.pem'))).code).toBe(0);
    expect(await nexus('plugin', 'install', plugin, '--accept')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/1\.1\.0 is installed, and 1\.0\.0 is older/),
    });
    expect((await nexus('plugin', 'install', plugin, '--accept', '--allow-downgrade')).code).toBe(0);
  }, 60_000);

  it('comes from a registry of npm, and none of its scripts runs [verifies plugins.npm]', async () => {
    const names = ['plugin.yaml', 'plugin.sig', 'server.js'];
    const files = new Map<string, Uint8Array>(names.map((name) => [name, readFileSync(join(plugin, name))]));
    const ranMark = join(folder, 'scripts-ran');
    const scripts = Object.fromEntries(
      ['preinstall', 'install', 'postinstall', 'prepare', 'prepack'].map((name) => [name, `touch ${ranMark}`]),
    );
    files.set('package.json', Buffer.from(JSON.stringify({ name: '@me/dates', version: '1.0.0', scripts })));
    const packed = packTarball(files);
    const registry = createServer((request, response) => {
      if (request.url === '/dates.tgz') response.end(packed);
      else response.end(JSON.stringify(about));
    }).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}`; // it listens on TCP
    const dist = { tarball: `${url}/dates.tgz`, integrity: `sha512-${createHash('sha512').update(packed).digest('base64')}` };
    const about = {
      name: '@me/dates',
      'dist-tags': { latest: '1.0.0' },
      versions: { '1.0.0': { name: '@me/dates', version: '1.0.0', dist } },
    };
    try {
      await nexus('plugin', 'remove', 'dates-mcp');
      writeFileSync(join(folder, '.npmrc'), `@me:registry=${url}\n`);
      const installed = await nexus('plugin', 'install', 'npm:@me/dates@1.0.0', '--accept');
      expect(installed).toMatchObject({ code: 0, out: 'dates-mcp 1.0.0 is installed\n' });
      expect(installed.err).toMatch(/@me\/dates 1\.0\.0 from 127\.0\.0\.1:\d+, sha512-/);
      dist.integrity = `sha512-${createHash('sha512').update('other').digest('base64')}`;
      expect(await nexus('plugin', 'install', 'npm:@me/dates', '--accept')).toMatchObject({
        code: 2,
        err: expect.stringMatching(/and says that it is sha512-/),
      });
      expect(existsSync(ranMark)).toBe(false);
    } finally {
      registry.close();
    }
    expect(await ran(ask)).toMatchObject({ status: 'completed' });
  }, 60_000);

  it('leaves no process when its server is killed, and its files go with those who come after [verifies plugins.programs.end]', async () => {
    expect(alive().length).toBeGreaterThan(0);
    const [own = ''] = unpacked();
    await node.kill();
    await expect.poll(alive, { timeout: 5_000 }).toEqual([]);
    expect(unpacked()).toEqual([own]);
    // It has been silent for longer than one that lives may be.
    const long = new Date(Date.now() - 30 * 60_000);
    utimesSync(join(folder, 'plugins', own, '.alive'), long, long);
    mkdirSync(join(folder, 'plugins', 'half'), { recursive: true });
    node = await startNode(folder, env());
    await expect.poll(() => unpacked().includes(own), { timeout: 5_000 }).toBe(false);
    expect(await ran(ask)).toMatchObject({ status: 'completed', output: expect.stringMatching(/"workdays":22/) });
    expect((await nexus('plugin', 'remove', 'dates-mcp')).code).toBe(0);
    await expect.poll(alive, { timeout: 5_000 }).toEqual([]);
    await node.stop();
    expect(unpacked()).toEqual(['half']);
  }, 60_000);
}
