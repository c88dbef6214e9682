import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Agent, Page } from '@nexus-agent/protocol';
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
