import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createBuiltinTools, createSandbox, createToolRegistry, createWorkspaces, type Sandbox, type ToolRegistry } from '#tools';
import { makeToolContext } from '../testing/context.ts';

let workspace: string;
let sandbox: Sandbox;
let registry: ToolRegistry;

beforeAll(async () => {
  workspace = await mkdtemp(join(tmpdir(), 'nexus-builtin-'));
  sandbox = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1 });
  registry = createToolRegistry({ tools: createBuiltinTools({ sandbox, workspaces: createWorkspaces() }), clock: systemClock });
  await writeFile(join(workspace, 'sales.csv'), 'month,total\njan,10\nfeb,32\n');
  await writeFile(join(workspace, 'image.png'), Buffer.from([0xff, 0xfe, 0xfd]));
  await symlink('/etc/passwd', join(workspace, 'passwd'));
});

afterAll(async () => {
  await registry.close();
  await sandbox.close();
  await rm(workspace, { recursive: true, force: true });
});

async function call(name: string, input: Record<string, unknown>) {
  const tool = registry.get(name);
  if (tool === undefined) throw new Error(`no tool ${name}`);
  const heard: string[] = [];
  const result = await registry.execute(tool, input, makeToolContext({ workspace, onOutput: (text) => heard.push(text) }), {
    timeoutMs: 10_000,
  });
  return { answer: result.type === 'ok' ? result.output : `${result.error.code}: ${result.error.message}`, heard };
}

it('offers the built-in tools, each described and with schemas that compile', () => {
  expect(registry.list().map(({ name, effects }) => `${name} ${effects}`)).toEqual([
    'fs_list none',
    'fs_read none',
    'fs_write idempotent',
    'fs_search none',
    'code_js none',
    'http_fetch none',
    'ask_human none',
  ]);
  for (const tool of registry.list()) {
    expect(tool.description.length).toBeGreaterThan(20);
    expect(registry.validate(tool, { nonsense: 1 })).toMatchObject({ type: 'error', error: { code: 'tool_input_invalid' } });
  }
});

it('computes over a file of the workspace', async () => {
  const code =
    'const rows = files["sales.csv"].trim().split("\\n").slice(1).map((row) => Number(row.split(",")[1]));\nconsole.log(rows.length, "rows");\nreturn rows.reduce((a, b) => a + b, input.start)';
  const { answer, heard } = await call('code_js', { code, files: ['sales.csv'], input: { start: 0 } });
  expect(JSON.parse(answer)).toEqual({ value: 42, logs: '2 rows' });
  expect(heard).toEqual(['2 rows']);
});

it('reads files for code only from the workspace', async () => {
  for (const path of ['passwd', '../etc/passwd', '/etc/passwd']) {
    expect((await call('code_js', { code: '1', files: [path] })).answer).toMatch(/^path_not_allowed/);
  }
  expect((await call('code_js', { code: '1', files: ['image.png'] })).answer).toMatch(/^tool_input_invalid: .*no UTF-8/);
  expect((await call('code_js', { code: '1', files: ['none.csv'] })).answer).toMatch(/^not_found/);
});

it('gives the model what was printed before the code failed', async () => {
  const { answer } = await call('code_js', { code: 'console.log("row 7");\nnull.x' });
  expect(answer).toBe("sandbox_code_error: TypeError: cannot read property 'x' of null (line 2)\nprinted before: row 7");
});

it('leaves a question to the engine', async () => {
  const tool = registry.get('ask_human');
  expect(tool?.kind).toBe('question');
  expect((await call('ask_human', { question: 'Which year?' })).answer).toMatch(/^tool_failed: a question is put to a person/);
});
