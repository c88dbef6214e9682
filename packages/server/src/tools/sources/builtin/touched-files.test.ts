import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { type AuthorizationRequest, type AuthorizationVerdict, createSandbox, createWorkspaces } from '#tools';
import { createTestToolService, makeToolCall, readCall, said } from '../../testing/index.ts';
import { createCodeJsTool } from './code-js.ts';
import { createFsTools } from './fs.ts';

let workspace: string;
beforeEach(async () => {
  workspace = await mkdtemp(join(tmpdir(), 'nexus-touched-'));
  await mkdir(join(workspace, 'keys'));
  await writeFile(join(workspace, 'keys', 'a.pem'), 'word of a key');
  await Promise.all(Array.from({ length: 40 }, (_, index) => writeFile(join(workspace, `n${index}.txt`), `word ${index}`)));
});
afterEach(() => rm(workspace, { recursive: true, force: true }));

const denied = { allowed: false, error: { code: 'policy_denied', message: 'no keys', retryable: false } } as const;

async function call(
  toolName: string,
  input: Record<string, unknown>,
  verdict: (path: string) => AuthorizationVerdict = (path) => (path.endsWith('.pem') ? denied : { allowed: true }),
) {
  const workspaces = createWorkspaces();
  const states = { keep: async () => ({ sha256: '', bytes: 0 }), read: async () => new Uint8Array() };
  const sandbox = createSandbox({ clock: systemClock, timers: systemTimers });
  const tools = [
    ...createFsTools({ workspaces, sandbox, clock: systemClock, timers: systemTimers }),
    createCodeJsTool({ sandbox, workspaces, states }),
  ];
  const service = createTestToolService(tools, { workspace, workspaces });
  const asked: string[] = [];
  const authorize = async ({ action, resource }: AuthorizationRequest) => {
    asked.push(`${action} ${resource}`);
    return verdict(resource);
  };
  const text = said(await readCall(service, makeToolCall({ toolName, input }), { authorize }));
  await sandbox.close();
  return { text, asked };
}

it('asks about each file that is read or written, named by an argument or not [verifies hostile.policy.files]', async () => {
  const search = await call('fs_search', { query: 'word' });
  expect(search.text).not.toContain('key');
  expect(search.text).toContain('[1 files were not searched, for policy does not let you read them]');
  expect(search.asked).toHaveLength(41);
  expect((await call('fs_read', { path: 'keys/a.pem' })).text).toBe('policy_denied: "keys/a.pem": no keys');
  const code = await call('code_js', { code: 'files', files: ['n1.txt', 'keys/a.pem'] });
  expect([code.text, code.asked]).toEqual(['policy_denied: "keys/a.pem": no keys', ['file.read n1.txt', 'file.read keys/a.pem']]);
  const write = await call('fs_write', { path: 'keys/a.pem', content: 'x' });
  expect([write.text, write.asked]).toEqual(['policy_denied: "keys/a.pem": no keys', ['file.write keys/a.pem']]);
});

it('asks about both names of a file that is moved, and about each file of a folder [verifies tools.files.paths]', async () => {
  const asked = async (toolName: string, input: Record<string, unknown>) => (await call(toolName, input)).asked;
  expect(await asked('fs_move', { path: 'n1.txt', to: 'keys/n1.pem' })).toEqual([
    'file.read n1.txt',
    'file.write n1.txt',
    'file.write keys/n1.pem',
  ]);
  expect((await call('fs_move', { path: 'n2.txt', to: 'keys/n2.pem' })).text).toBe('policy_denied: "keys/n2.pem": no keys');
  expect((await call('fs_move', { path: 'keys/a.pem', to: 'open.txt' })).text).toBe('policy_denied: "keys/a.pem": no keys');
  expect((await call('fs_move', { path: 'keys', to: 'open' })).text).toBe('policy_denied: "keys/a.pem": no keys');
  expect((await call('fs_delete', { path: 'keys', recursive: true })).text).toBe('policy_denied: "keys/a.pem": no keys');
  expect(await asked('fs_edit', { path: 'n3.txt', edits: [{ old: 'word', new: 'x' }] })).toEqual(['file.read n3.txt', 'file.write n3.txt']);
  expect((await call('fs_edit', { path: 'keys/a.pem', edits: [{ old: 'word', new: 'x' }] })).text).toMatch(/^policy_denied/);
  for (const input of [
    { path: 'keys/a.pem', other: 'n3.txt' },
    { path: 'n3.txt', other: 'keys/a.pem' },
    { path: 'keys/a.pem', text: '' },
  ])
    expect((await call('fs_diff', input)).text).toBe('policy_denied: "keys/a.pem": no keys');
  for (const mode of ['create', 'append'])
    expect((await call('fs_write', { path: 'keys/b.pem', content: 'x', mode })).text).toMatch(/^policy_denied/);
});

it('asks no more once it has heard that no policy speaks of files', async () => {
  const { text, asked } = await call('fs_search', { query: 'word' }, () => ({ allowed: true, always: true }));
  expect(text).toContain('word of a key');
  expect(asked).toHaveLength(1);
});

it('takes no failure to decide for a file to leave out', async () => {
  const failure = { allowed: false, error: { code: 'storage_unavailable', message: 'not now', retryable: true } } as const;
  expect((await call('fs_search', { query: 'word' }, () => failure)).text).toBe('storage_unavailable: not now');
});

it('asks for no path that is in another than its plain form', async () => {
  for (const path of ['./keys/a.pem', 'keys//a.pem', '../a.pem', 'keys/a.pem/']) {
    expect((await call('fs_read', { path })).asked).toEqual([]);
    expect((await call('code_js', { code: '1', files: [path] })).asked).toEqual([]);
  }
});
