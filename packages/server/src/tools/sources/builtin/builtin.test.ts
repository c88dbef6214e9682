import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createSchemaValidator, systemClock, systemTimers } from '#core';
import { checkArguments, createSandbox, createWorkspaces, type Jail, type Sandbox, type ToolService } from '#tools';
import { createTestToolService, makeToolCall, readCall, said } from '../../testing/index.ts';
import { createBuiltinTools } from './index.ts';

/** A machine that cannot jail. */
const noJail: Jail = {
  tier: 'T2',
  refusal: async () => 'bubblewrap is not installed',
  claim: async () => undefined,
  run: () => Promise.reject(new Error('it was run all the same')),
  spawn: () => Promise.reject(new Error('it was started all the same')),
  alive: () => 0,
  close: async () => undefined,
};
const network = {
  ...{ enabled: true, egress: {}, connections: 1, totalConnections: 1, bytesOut: 1, bytesIn: 1, bytesPerSecond: 1, headerBytes: 1 },
  ...{ idleMs: 1, connectionMs: 1 },
};
const jailLimits = { wallMs: 1, cpuMs: 1, memoryBytes: 1, processes: 1, files: 1, fileBytes: 1, outputBytes: 1 };

let workspace: string;
let sandbox: Sandbox;
let service: ToolService;

beforeAll(async () => {
  workspace = await mkdtemp(join(tmpdir(), 'nexus-builtin-'));
  sandbox = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1 });
  const jailed = { jail: noJail, clock: systemClock, timers: systemTimers, limits: jailLimits, network };
  const states = { keep: async () => ({ sha256: '', bytes: 0 }), read: async () => new Uint8Array() };
  const artifacts = {
    store: { getArtifact: async () => null, listArtifacts: async () => ({ items: [], nextCursor: null }) },
    blobs: { get: () => Promise.reject(new Error('there is none')) as never },
    maxOutputChars: 50_000,
  };
  const options = {
    artifacts,
    sandbox,
    workspaces: createWorkspaces(),
    states,
    clock: systemClock,
    timers: systemTimers,
    http: {},
    jailed,
  };
  service = createTestToolService(createBuiltinTools(options), { workspace });
  await writeFile(join(workspace, 'sales.csv'), 'month,total\njan,10\nfeb,32\n');
  await writeFile(join(workspace, 'image.png'), Buffer.from([0xff, 0xfe, 0xfd]));
  await symlink('/etc/passwd', join(workspace, 'passwd'));
});

afterAll(async () => {
  await service.close();
  await sandbox.close();
  await rm(workspace, { recursive: true, force: true });
});

async function call(name: string, input: Record<string, unknown>) {
  const heard: string[] = [];
  const end = await readCall(service, makeToolCall({ toolName: name, input }), {
    onPart: (part) => part.type === 'output' && heard.push(part.text),
  });
  return { answer: said(end), heard };
}

it('offers the built-in tools, each described and with schemas that compile', async () => {
  const tools = await service.list('ten_1');
  const schemas = createSchemaValidator();
  expect(tools.map(({ name, effects }) => `${name} ${effects}`)).toEqual([
    'fs_list none',
    'fs_read none',
    'fs_search none',
    'fs_diff none',
    'fs_write idempotent',
    'fs_edit idempotent',
    'fs_move idempotent',
    'fs_delete idempotent',
    'file_text none',
    'code_js none',
    'code_python idempotent',
    'shell once',
    'http_fetch none',
    'http_request once',
    'ask_human none',
    'wait none',
    'artifact_list none',
    'artifact_read none',
  ]);
  for (const tool of tools) {
    expect(tool.description.length).toBeGreaterThan(20);
    expect(checkArguments(schemas, tool, { nonsense: 1 })).toMatchObject({ type: 'error', error: { code: 'tool_input_invalid' } });
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
  expect((await call('code_js', { code: 'await tools.fs_list({})' })).answer).toMatch(
    /tools is not defined.*; tools are there only within a run$/,
  );
  const { answer } = await call('code_js', { code: 'console.log("row 7");\nnull.x' });
  expect(answer).toBe("sandbox_code_error: TypeError: cannot read property 'x' of null (line 2)\nprinted before: row 7");
});

it('leaves a question and a wait to the engine', async () => {
  const tools = await service.list('ten_1');
  expect(tools.find(({ name }) => name === 'ask_human')?.kind).toBe('question');
  expect((await call('ask_human', { question: 'Which year?' })).answer).toMatch(/^tool_failed: a question is put to a person/);
  expect(tools.find(({ name }) => name === 'wait')?.kind).toBe('timer');
  expect((await call('wait', { seconds: 1 })).answer).toMatch(/^tool_failed: the engine of runs makes a run wait/);
});

it('runs no program where processes cannot be jailed, and says why [verifies tools.jail.refused]', async () => {
  for (const [name, input] of [
    ['shell', { command: 'id' }],
    ['code_python', { code: '1' }],
  ] as const)
    expect((await call(name, input)).answer).toMatch(/^sandbox_unavailable: no process can be jailed here: bubblewrap is not installed/);
});

it('takes one command, of a length that a system takes', async () => {
  expect((await call('shell', {})).answer).toMatch(/^tool_input_invalid: give either command/);
  expect((await call('shell', { command: 'id', argv: ['id'] })).answer).toMatch(/^tool_input_invalid: give either command/);
  expect((await call('shell', { argv: Array.from({ length: 20 }, () => 'x'.repeat(90_000)) })).answer).toMatch(
    /^tool_input_invalid: a command may/,
  );
  expect((await call('shell', { command: 'id\0' })).answer).toMatch(/^tool_input_invalid: no command holds/);
  expect((await call('shell', { command: 'id', cwd: '../..' })).answer).toMatch(/^path_not_allowed/);
});
