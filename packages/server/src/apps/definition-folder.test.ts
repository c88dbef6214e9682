import { copyFile, mkdir, mkdtemp, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Agent, DecisionRecord, DefinitionOverview, Page } from '@nexus-agent/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ConfigInput } from '#apps/config';
import { startTestPlatform, type TestPlatform } from '#apps/testing';

let dataDir: string;
let platform: TestPlatform | undefined;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'nexus-test-'));
});
afterEach(async () => {
  await platform?.close();
  platform = undefined;
  await rm(dataDir, { recursive: true, force: true });
});

const start = async (config: ConfigInput = {}) => {
  platform = await startTestPlatform({ dataDir, config });
  return platform;
};

async function folderOf(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const folder = join(dataDir, name);
  await mkdir(folder, { recursive: true });
  for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text);
  return folder;
}

const agent = (name: string) => `name: ${name}\nmodels: [sim/sim-large]\n`;
const agentNames = async ({ ask }: TestPlatform) => (await ask<Page<Agent>>('GET', '/v1/agents?limit=200')).data.map(({ name }) => name);
const unreadLines = ({ logs }: TestPlatform) => logs.filter(({ message }) => message === 'not everything in the folder is read');
const permitAll = 'permit (principal, action, resource);';

describe('the agents folder', () => {
  it('is read whatever the case of the extension', async () => {
    const folder = await folderOf('agents', { 'a.yml': agent('a'), 'b.Yaml': agent('b'), 'c.YML': agent('c') });
    await copyFile(new URL('../../../../test/cases/25-LOUD.YAML', import.meta.url), join(folder, 'LOUD.YAML'));
    const server = await start();
    expect(await agentNames(server)).toEqual(expect.arrayContaining(['a', 'b', 'c', 'loud']));
    expect(unreadLines(server)).toEqual([]);
  });

  it('has every file that is not read named in the log, with the reason', async () => {
    const folder = await folderOf('agents', {
      'good.yaml': agent('good'),
      'a.json': '{}',
      'b.yaml.bak': agent('b'),
      '.c.yaml': agent('c'),
      noext: agent('d'),
      'huge.yaml': `${agent('huge')}#${'x'.repeat(1_000_000)}`,
    });
    await mkdir(join(folder, 'team.yaml'));
    await symlink(join(folder, 'good.yaml'), join(folder, 'alias.YAML.link'));
    await symlink('nowhere.yaml', join(folder, 'dangling.yaml'));
    await symlink('loop.yaml', join(folder, 'loop.yaml'));
    await symlink('/dev/null', join(folder, 'device.yaml'));
    const server = await start();
    expect((await agentNames(server)).filter((name) => name !== 'chat')).toEqual(['good']);
    const [line, ...more] = unreadLines(server);
    expect(more).toEqual([]);
    expect(line).toMatchObject({ level: 'warn', fields: { folder } });
    const files = line?.fields.files as string[];
    for (const [name, why] of [
      ['a.json', 'ends with none of .yaml, .yml'],
      ['b.yaml.bak', 'ends with none'],
      ['.c.yaml', 'hidden'],
      ['noext', 'ends with none'],
      ['huge.yaml', 'at most 1000000 are read'],
      ['team.yaml', 'is a folder'],
      ['alias.YAML.link', 'ends with none'],
      ['dangling.yaml', 'leads nowhere'],
      ['loop.yaml', 'leads to itself'],
      ['device.yaml', 'no regular file'],
    ]) {
      expect(files).toContainEqual(expect.stringMatching(new RegExp(`^${name?.replaceAll('.', '\\.')}: .*${why}`)));
    }
    expect(files).toHaveLength(10);
  });

  it('follows links to files, and warns of nothing that a mounted volume brings along', async () => {
    const folder = await folderOf('agents', { '.gitkeep': '', 'README.md': 'how' });
    await mkdir(join(folder, '..2026'));
    await writeFile(join(folder, '..2026', 'a.yaml'), agent('mounted'));
    await symlink('..2026', join(folder, '..data'));
    await symlink('..data/a.yaml', join(folder, 'a.yaml'));
    const server = await start();
    expect(await agentNames(server)).toContain('mounted');
    expect(unreadLines(server)).toMatchObject([{ level: 'info' }]);
  });

  it('is refused when two of its files define the same agent', async () => {
    await folderOf('agents', { 'a.yaml': agent('twin'), 'b.yaml': agent('twin') });
    await expect(start()).rejects.toThrow(/b\.yaml and .*a\.yaml both define the agent "twin"/);
  });
});

describe('the policies folder', () => {
  it('has the tools named in the log that a policy means and nothing here has [verifies agents.names]', async () => {
    const text = ['fs_read', 'fs_wirte', 'agent_helper'].map(
      (tool) => `@id("${tool}")\nforbid (principal, action, resource == Tool::"${tool}");`,
    );
    await folderOf('policies', { 'ops.cedar': text.join('\n') });
    const { logs } = await start();
    expect(logs.filter(({ message }) => message === 'a policy names what there is not')).toMatchObject([
      { level: 'warn', fields: { notes: ['operator:ops.cedar:fs_wirte: there is no tool "fs_wirte"; did you mean "fs_write"?'] } },
    ]);
  });

  it('is read whatever the case of the extension, and what is not read is named', async () => {
    const folder = await folderOf('policies', { 'OPS.CEDAR': `@id("ops") ${permitAll}`, 'old.cedar.bak': 'x', 'rules.txt': 'x' });
    const server = await start();
    expect(unreadLines(server)).toMatchObject([{ level: 'warn', fields: { folder } }]);
    expect(unreadLines(server)[0]?.fields.files).toHaveLength(2);
    // The operator's policy permits what the agent's does not.
    await server.ask('POST', '/v1/agents', { name: 'bare', models: ['sim/sim-large'] });
    await server.complete({ agent: 'bare', input: 'hello' });
  });

  it.each([
    ['a link that leads nowhere', (path: string) => symlink('nowhere', path)],
    ['a folder', (path: string) => mkdir(path)],
    ['a device', (path: string) => symlink('/dev/null', path)],
    ['too large', (path: string) => writeFile(path, `//${'x'.repeat(4_000_000)}`)],
  ])('stops the start when a policy is %s: what is missing must not mean fewer rules', async (_, make) => {
    const folder = await folderOf('policies', {});
    await make(join(folder, 'forbid.Cedar'));
    await expect(start()).rejects.toThrow(/forbid\.Cedar in .*policies is not read: it .*; mend or remove it/);
  });

  it('stops the start when a policy is hidden', async () => {
    await folderOf('policies', { '.forbid.cedar': permitAll });
    await expect(start()).rejects.toThrow(/\.forbid\.cedar .* it is hidden/);
  });
});

describe.each([
  ['agentsDir', 'NEXUS_AGENTS_DIR'],
  ['policiesDir', 'NEXUS_POLICIES_DIR'],
  ['workspaceSeed', 'NEXUS_WORKSPACE_SEED'],
])('%s', (key, variable) => {
  it.each(['', '\n// forbid (principal, action, resource);\n'])('stops the start when a file holds no policy: %j', async (text) => {
    await folderOf('policies', { 'cut.cedar': text });
    await expect(start()).rejects.toThrow('cut.cedar in');
  });

  it('stops the start when it names no folder', async () => {
    const file = join(dataDir, 'file');
    await writeFile(file, '');
    for (const [path, why] of [
      [join(dataDir, 'nope'), 'there is no folder'],
      [file, 'is a file and not a folder'],
    ] as const) {
      const started = start({ [key]: path });
      await expect(started).rejects.toMatchObject({ code: 'config_invalid' });
      await expect(started).rejects.toThrow(new RegExp(`^${key} \\(${variable}\\): .*${why}`));
    }
  });
});

it('starts without the folders that nobody named', async () => {
  expect(await agentNames(await start())).toEqual(['chat']);
});

describe('a change of a folder', () => {
  const forbidding = (tool: string) => `forbid (principal, action == Action::"tool.execute", resource == Tool::"${tool}");`;
  const definitions = (server: TestPlatform) => server.ask<DefinitionOverview>('GET', '/v1/definitions');
  async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
    for (const endAt = performance.now() + 10_000; !(await holds()); await new Promise((resolve) => setTimeout(resolve, 20))) {
      if (performance.now() > endAt) throw new Error(`${what} did not come`);
    }
  }
  const untilVersion = (server: TestPlatform, kind: 'policies' | 'agents', version: number) =>
    until(`version ${version} of the ${kind}`, async () => (await definitions(server))[kind].inUse === version);

  it('is taken over however it is made: in place, by a rename, through a link, by a new file [verifies nodes.definitions.follow]', async () => {
    const folder = await folderOf('agents', { 'a.yaml': agent('a') });
    const elsewhere = await folderOf('elsewhere', { 'c.yaml': agent('linked') });
    await symlink(join(elsewhere, 'c.yaml'), join(folder, 'c.yaml'));
    const server = await start({ definitions: { pollMs: 50 } });
    const changes: [string, () => Promise<unknown>][] = [
      ['edited', () => writeFile(join(folder, 'a.yaml'), agent('edited'))],
      // As long as before, and with the time of before: some editors and archives keep it.
      [
        'change',
        async () => {
          const { atime, mtime } = await stat(join(folder, 'a.yaml'));
          await writeFile(join(folder, 'a.yaml'), agent('change'));
          await utimes(join(folder, 'a.yaml'), atime, mtime);
        },
      ],
      [
        'renamed',
        async () => {
          await writeFile(join(folder, '.a.yaml.tmp'), agent('renamed'));
          await rename(join(folder, '.a.yaml.tmp'), join(folder, 'a.yaml'));
        },
      ],
      ['behind-a-link', () => writeFile(join(elsewhere, 'c.yaml'), agent('behind-a-link'))],
      ['new', () => writeFile(join(folder, 'd.yaml'), agent('new'))],
    ];
    for (const [name, make] of changes) {
      await make();
      await until(`the agent ${name}`, async () => (await agentNames(server)).includes(name));
    }
    await rm(join(folder, 'd.yaml'));
    await until('the end of the agent new', async () => !(await agentNames(server)).includes('new'));
    expect(await agentNames(server)).toEqual(['behind-a-link', 'chat', 'renamed']);
  });

  it('is taken over when a mounted volume is swapped, all of it at once', async () => {
    const folder = await folderOf('policies', {});
    const publish = async (name: string, tools: readonly string[]) => {
      await mkdir(join(folder, name));
      for (const [index, tool] of tools.entries()) await writeFile(join(folder, name, `${index}.cedar`), forbidding(tool));
      await symlink(name, join(folder, '..data_tmp'));
      await rename(join(folder, '..data_tmp'), join(folder, '..data'));
    };
    await publish('..2026_01', ['one', 'two']);
    for (const index of [0, 1]) await symlink(`..data/${index}.cedar`, join(folder, `${index}.cedar`));
    const server = await start({ definitions: { pollMs: 50 } });
    await publish('..2026_02', ['three', 'four']);
    await rm(join(folder, '..2026_01'), { recursive: true });
    await untilVersion(server, 'policies', 2);
    expect(await server.app.store.definitionFiles('policies', 2)).toEqual([
      { name: '0.cedar', text: forbidding('three') },
      { name: '1.cedar', text: forbidding('four') },
    ]);
    expect(server.logs.filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('to something broken keeps what was, and says so in the log and in the API [verifies nodes.definitions.broken]', async () => {
    const folder = await folderOf('policies', { 'ops.cedar': permitAll });
    const server = await start({ definitions: { pollMs: 50 } });
    const { policyVersion } = (await definitions(server)).policies;
    await writeFile(join(folder, 'more.cedar'), 'permit (principal, acion, resource);');
    await until('the fault', async () => (await definitions(server)).policies.folder.state === 'broken');
    const { policies } = await definitions(server);
    expect(policies).toMatchObject({ inUse: 1, policyVersion, folder: { path: folder, fault: expect.stringMatching(/more\.cedar:1:20/) } });
    expect(server.logs.filter(({ message }) => message.includes('cannot be used; the ones in use stay'))).toMatchObject([
      { level: 'error', fields: { kind: 'policies', inUse: 1 } },
    ]);
    await rm(join(folder, 'more.cedar'));
    await until('the end of the fault', async () => (await definitions(server)).policies.folder.state === 'active');
    expect((await definitions(server)).policies).toMatchObject({ inUse: 1, policyVersion });
  });

  it('that cuts a file short keeps what was: its forbids do not go with it [verifies nodes.definitions.broken]', async () => {
    const folder = await folderOf('policies', {
      'ops.cedar': permitAll,
      'no.cedar': 'forbid (principal, action == Action::"run.start", resource);',
    });
    const { app } = await start({ policiesDir: folder });
    await writeFile(join(folder, 'no.cedar'), '');
    await expect.poll(async () => JSON.stringify(await (await fetch(`${app.url}/v1/definitions`)).json())).toContain('no.cedar in');
    const decided = await fetch(`${app.url}/v1/runs`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"input":"hi"}',
    });
    expect(decided.status).toBe(403);
  });

  it('is not imported by what only looks, where others are in force [verifies nodes.definitions.look]', async () => {
    await folderOf('agents', { 'a.yaml': agent('a') });
    await (await start()).close();
    const other = await folderOf('other', { 'b.yaml': agent('b') });
    platform = await startTestPlatform({ dataDir, config: { agentsDir: other }, onlyLooks: true });
    expect(await agentNames(platform)).toEqual(['a', 'chat']);
    await platform.close();
    expect(await agentNames(await start({ agentsDir: other }))).toEqual(['b', 'chat']);
  });

  it('is imported only when that is asked for, where the configuration says so', async () => {
    const folder = await folderOf('agents', { 'a.yaml': agent('a') });
    const server = await start({ definitions: { import: 'manual', pollMs: 50 } });
    await writeFile(join(folder, 'b.yaml'), agent('b'));
    await server.app.reload();
    expect([await agentNames(server), (await definitions(server)).agents.folder.state]).toEqual([['chat'], 'never-imported']);
    await server.ask('POST', '/v1/definitions/agents/import');
    expect(await agentNames(server)).toEqual(['a', 'b', 'chat']);
  });

  it('that an earlier version took decide on, and are refused only where they are loaded anew [verifies policy.obligation.unknown]', async () => {
    const server = await start({ definitions: { pollMs: 50 } });
    const files = [{ name: 'old.cedar', text: '@obligation("log_full") permit (principal, action == Action::"run.start", resource);' }];
    await server.app.store.importDefinitions({ kind: 'policies', fingerprint: 'f', origin: 'older:/p', importedAt: 1, again: null, files });
    await until('the version', async () => (await definitions(server)).policies.inUse === 1);
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
    const denied = await fetch(`${server.url}/v1/runs`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"input":"hi"}',
    });
    expect([denied.status, await denied.text()]).toEqual([403, expect.stringContaining('unknown obligation')]);
    const folder = await folderOf('policies', { 'old.cedar': files[0]?.text ?? '' });
    await server.app.reload();
    expect((await definitions(server)).policies.folder).toMatchObject({
      path: folder,
      state: 'broken',
      fault: expect.stringContaining('log_full'),
    });
  });

  it('of another node that this program cannot use leaves this one not ready, with the reason', async () => {
    const server = await start({ definitions: { pollMs: 50 } });
    const files = [{ name: 'ops.cedar', text: 'permit (principal, action == Action::"of.tomorrow", resource);' }];
    const head = { kind: 'policies' as const, fingerprint: 'f', origin: 'newer:/policies', importedAt: 1, again: null, files };
    await server.app.store.importDefinitions(head);
    await until('the answer', async () => (await fetch(`${server.url}/readyz`)).status === 503);
    expect(await (await fetch(`${server.url}/readyz`)).json()).toMatchObject({
      detail: expect.stringMatching(/^not ready: the active policies cannot be used by this node: .*ops\.cedar:1/),
    });
    expect((await definitions(server)).policies).toMatchObject({ active: { version: 1 }, inUse: null, fault: expect.any(String) });
    await server.app.store.importDefinitions({ ...head, fingerprint: 'g', files: [{ name: 'ops.cedar', text: permitAll }] });
    await until('the end of it', async () => (await fetch(`${server.url}/readyz`)).status === 200);
  });

  it('is read at once where that is asked for', async () => {
    const folder = await folderOf('agents', { 'a.yaml': agent('a') });
    const server = await start({ definitions: { pollMs: 60_000 } });
    await writeFile(join(folder, 'b.yaml'), agent('b'));
    await server.app.reload();
    expect(await agentNames(server)).toEqual(['a', 'b', 'chat']);
    expect(server.logs.filter(({ message }) => message === 'the folders of definitions were read again')).toHaveLength(1);
  });

  it('leaves no decision between two versions: each names one that was active [verifies nodes.definitions.follow]', async () => {
    const folder = await folderOf('policies', { 'ops.cedar': permitAll });
    const server = await start({ definitions: { pollMs: 50 } });
    await server.ask('POST', '/v1/agents', { name: 'bare', models: ['sim/sim-large'], tools: ['fs_list'] });
    const versions = new Set([(await definitions(server)).policies.policyVersion]);
    const runs: string[] = [];
    for (let round = 0; round < 3; round++) {
      const working = Promise.all(
        Array.from({ length: 6 }, () => server.complete({ agent: 'bare', input: '[[sim tools=fs_list()]] [[sim say="done"]]' })),
      );
      await writeFile(join(folder, 'ops.cedar'), `${permitAll} // ${round}`);
      await server.app.reload();
      versions.add((await definitions(server)).policies.policyVersion);
      runs.push(...(await working));
    }
    expect(versions.size).toBe(4);
    const decisions = await Promise.all(
      runs.map((id) => server.ask<Page<DecisionRecord>>('GET', `/v1/runs/${id}/decisions?limit=200`).then(({ data }) => data)),
    );
    const named = new Set(decisions.flat().map(({ policyVersion }) => policyVersion));
    expect([...named].filter((version) => !versions.has(version))).toEqual([]);
    expect(named.size).toBeGreaterThan(1);
  });
});
