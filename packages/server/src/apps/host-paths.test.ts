import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from './testing/index.ts';

let folder: string;
let platform: TestPlatform;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nexus-paths-'));
  platform = await startTestPlatform({ dataDir: folder });
  await platform.agent('files');
});
afterAll(async () => {
  await platform?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** No path of this machine, in any spelling. */
function expectNoPath(text: string): void {
  for (const path of [folder, tmpdir(), process.cwd(), `${homedir()}/`, '/proc/self', 'node_modules']) expect(text).not.toContain(path);
}

/** A call, and what came of it as the answer. */
function script(name: string, input: object): string {
  const given = Object.entries(input).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return `[[sim tools=${name}(${given.join(',')})]] [[sim say="{{result}}"]]`;
}

async function toolSays(name: string, input: object): Promise<string> {
  const id = await platform.complete({ agent: 'files', input: script(name, input) });
  return JSON.stringify([await platform.events(id), await platform.ask('GET', `/v1/runs/${id}`)]);
}

it.each([
  ['ENOENT', 'fs_read', { path: 'none' }],
  ['ENAMETOOLONG', 'fs_write', { path: 'n'.repeat(300), content: 'x' }],
  ['EISDIR', 'fs_read', { path: '.' }],
  ['ENOTDIR', 'fs_read', { path: '../../x' }],
  ['a path of the host', 'fs_read', { path: '/etc/passwd' }],
  ['a name that is none', 'fs_read', { path: 'a\u0000b' }],
])('tells models and clients no path of the host at %s [verifies hostile.leak.paths]', async (_what, name, input) => {
  expectNoPath(await toolSays(name, input));
});

it('tells clients none where files cannot be kept [verifies hostile.leak.paths]', async () => {
  rmSync(join(folder, 'blobs'), { recursive: true, force: true });
  writeFileSync(join(folder, 'blobs'), '');
  chmodSync(join(folder, 'blobs'), 0o400);
  const said = await toolSays('fs_write', { path: 'a.txt', content: 'words' });
  expect(said).toContain('dataDir');
  expectNoPath(said);
  rmSync(join(folder, 'blobs'));
});

it('tells clients none of folders of definitions that cannot be read [verifies hostile.leak.paths]', async () => {
  const agents = join(folder, 'agents');
  rmSync(agents, { recursive: true, force: true });
  for (const what of ['none', 'file', 'loop'] as const) {
    if (what === 'file') writeFileSync(agents, 'x');
    if (what === 'loop') symlinkSync('agents', agents);
    const answer = await fetch(`${platform.url}/v1/definitions/agents/import`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    expectNoPath(await answer.text());
    rmSync(agents, { force: true });
  }
});
