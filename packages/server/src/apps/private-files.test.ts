import { chmodSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { makePrivate } from './private-files.ts';
import { startTestPlatform } from './testing/index.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nexus-private-'));
  chmodSync(folder, 0o755);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const modeOf = (path: string) => lstatSync(path).mode & 0o7777;

function put(path: string, mode: number): void {
  const whole = join(folder, path);
  mkdirSync(join(whole, '..'), { recursive: true });
  writeFileSync(whole, 'x');
  chmodSync(whole, mode);
}

/** All that others may do anything with. */
function open(): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => {
    const about = lstatSync(join(folder, path));
    return !about.isSymbolicLink() && (about.mode & 0o077) !== 0;
  });
}

it('takes what was there from others, whatever it was [verifies hostile.leak.files]', async () => {
  for (const path of [
    'nexus.db',
    'nexus.db-wal',
    'nexus.db-shm',
    'key-secret',
    'agents/a.yaml',
    'policies/b.cedar',
    'blobs/ab/cd',
    'operator-token',
  ])
    put(path, 0o666);
  put('workspaces/t/s/run.sh', 0o775);
  for (const path of ['agents', 'blobs', 'blobs/ab', 'workspaces', 'workspaces/t', 'workspaces/t/s']) chmodSync(join(folder, path), 0o777);
  const { changed, notes } = await makePrivate(folder);
  expect(open()).toEqual([]);
  expect(modeOf(folder)).toBe(0o700);
  expect(modeOf(join(folder, 'nexus.db'))).toBe(0o600);
  expect(modeOf(join(folder, 'workspaces/t/s/run.sh'))).toBe(0o700);
  expect(changed).toBeGreaterThan(14);
  expect(notes).toEqual([]);
  expect((await makePrivate(folder)).changed).toBe(0);
});

it('knows everything that a server makes there: a folder that is open again is closed at the next start [verifies hostile.leak.files]', async () => {
  for (let start = 1; start <= 2; start++) {
    chmodSync(folder, 0o777);
    const platform = await startTestPlatform({ dataDir: folder, config: { auth: { local: 'token' } } });
    const notes = platform.logs.filter(({ message }) => message.includes('did not make'));
    expect([modeOf(folder), readdirSync(folder).includes('local'), notes]).toEqual([0o700, true, []]);
    await platform.close();
  }
});

it('follows no link out of the folder, and takes a folder that is one [verifies hostile.leak.files]', async () => {
  put('elsewhere/file', 0o644);
  mkdirSync(join(folder, 'data/agents'), { recursive: true, mode: 0o755 });
  symlinkSync(join(folder, 'elsewhere/file'), join(folder, 'data/agents/a.yaml'));
  symlinkSync(join(folder, 'elsewhere'), join(folder, 'data/policies'));
  symlinkSync(join(folder, 'data'), join(folder, 'link'));
  await makePrivate(join(folder, 'link'));
  expect(modeOf(join(folder, 'elsewhere/file'))).toBe(0o644);
  expect(modeOf(join(folder, 'data/agents'))).toBe(0o700);
  expect(modeOf(join(folder, 'data'))).toBe(0o700);
});

it('leaves a folder of other things alone and says so [verifies hostile.leak.files]', async () => {
  put('nexus.db', 0o644);
  put('thesis.odt', 0o644);
  const { notes } = await makePrivate(folder);
  expect(modeOf(join(folder, 'nexus.db'))).toBe(0o600);
  expect(modeOf(join(folder, 'thesis.odt'))).toBe(0o644);
  expect(modeOf(folder)).toBe(0o755);
  expect(notes.join()).toContain('holds 1 thing that Nexus Agent did not make, 1 of them readable by others');
  expect(notes.join()).toContain('(thesis.odt)');
});

it('leaves its group what a set-group-id bit shares, and says so [verifies hostile.leak.files]', async () => {
  put('nexus.db', 0o664);
  chmodSync(folder, 0o2775);
  const { notes } = await makePrivate(folder);
  expect(modeOf(join(folder, 'nexus.db'))).toBe(0o660);
  expect(modeOf(folder)).toBe(0o2770);
  expect(notes.join()).toContain('shared with its group on purpose');
});

it('makes nothing that others can read, also in a folder that was there [verifies hostile.leak.files]', async () => {
  put('agents/a.yaml', 0o666);
  writeFileSync(join(folder, 'agents/a.yaml'), 'name: a\nmodels: [default]\ninstructions: x\n');
  const platform = await startTestPlatform({ dataDir: folder });
  try {
    await platform.agent('files');
    await platform.complete({ agent: 'files', input: '[[sim tools=fs_write(path="a/b.txt",content="x")]] [[sim say="done"]]' });
    expect(open()).toEqual([]);
    expect(modeOf(folder)).toBe(0o700);
  } finally {
    await platform.close();
  }
});

it('knows all that a server makes: a folder that was used is closed again, and nothing in it is told as foreign [verifies hostile.leak.files]', async () => {
  const used = async () => {
    const config = { auth: { local: 'token' }, stateHome: join(folder, 'agents') } as const;
    const platform = await startTestPlatform({ dataDir: folder, config });
    const notes = platform.logs.filter(({ message }) => message.includes('did not make'));
    await platform.close();
    return notes;
  };
  await used();
  for (const path of ['.', ...readdirSync(folder)])
    chmodSync(join(folder, path), lstatSync(join(folder, path)).isDirectory() ? 0o755 : 0o644);
  expect(await used()).toEqual([]);
  expect(open()).toEqual([]);
  expect(modeOf(folder)).toBe(0o700);
});
