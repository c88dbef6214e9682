import { execFileSync } from 'node:child_process';
import { link, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createSandbox, createWorkspaces, type Sandbox } from '#tools';
import { createTestToolService, makeToolCall, readCall, said } from '../../testing/index.ts';
import { createFsTools } from './fs.ts';

const secret = 'the-secret-outside';

let base: string;
let workspace: string;
let sandbox: Sandbox;

beforeAll(() => {
  sandbox = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1 });
});
afterAll(() => sandbox.close());

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'nexus-fs-'));
  workspace = join(base, 'session');
  await mkdir(join(workspace, 'data'), { recursive: true });
  await mkdir(join(base, 'outside'));
  await writeFile(join(base, 'outside', 'secret.txt'), secret);
  await writeFile(join(workspace, 'data', 'sales.csv'), 'month,total\njan,10\nfeb,20\n');
});

afterEach(() => rm(base, { recursive: true, force: true }));

function setUp(options: Parameters<typeof createWorkspaces>[0] = {}) {
  const workspaces = createWorkspaces(options);
  const service = createTestToolService(createFsTools({ workspaces, sandbox, clock: systemClock, timers: systemTimers }), {
    workspace,
    workspaces,
  });
  return async (name: string, input: Record<string, unknown>, signal = new AbortController().signal): Promise<string> => {
    return said(await readCall(service, makeToolCall({ toolName: name, input }), { signal }));
  };
}

describe.each([
  { way: 'through /proc', useProc: true },
  { way: 'without /proc', useProc: false },
])('files of a workspace, $way', ({ useProc }) => {
  const call = (...args: Parameters<ReturnType<typeof setUp>>) => setUp({ useProc })(...args);

  it('lists, reads, writes and finds', async () => {
    expect(await call('fs_list', {})).toBe('data/');
    expect(await call('fs_list', { recursive: true })).toBe('data/\ndata/sales.csv\t26');
    expect(await call('fs_read', { path: 'data/sales.csv' })).toBe('month,total\njan,10\nfeb,20');
    expect(await call('fs_write', { path: 'reports/2026/a.md', content: '# Grüße\n' })).toBe('wrote 10 bytes to reports/2026/a.md');
    expect(await readFile(join(workspace, 'reports/2026/a.md'), 'utf8')).toBe('# Grüße\n');
    expect(await call('fs_search', { query: 'GRÜSSE' })).toContain('[no line contains "GRÜSSE"]');
    expect(await call('fs_search', { query: 'grüße' })).toBe('reports/2026/a.md:1: # Grüße');
  });

  const escapes = [
    '/etc/passwd',
    '../outside/secret.txt',
    'data/../../outside/secret.txt',
    'data/../data/sales.csv',
    '..',
    './..',
    'data\\..\\..\\outside\\secret.txt',
    'data/sales.csv\0.txt',
    '/proc/self/environ',
    'a/'.repeat(3_000),
    'x'.repeat(300),
    'a\nb',
    '\ud800',
  ].map((path) => ({ path, shown: JSON.stringify(path.slice(0, 60)) }));

  it.each(escapes)('refuses the path $shown to every tool', async ({ path }) => {
    for (const [name, input] of Object.entries({
      fs_read: { path },
      fs_write: { path, content: 'x' },
      fs_list: { path },
      fs_search: { query: secret, path },
      fs_edit: { path, edits: [{ old: 'a', new: 'b' }] },
      fs_diff: { path, text: '' },
      fs_move: { path: 'data/sales.csv', to: path },
      fs_delete: { path },
    })) {
      expect(await call(name, input)).toMatch(/^path_not_allowed: /);
    }
    expect(await readdir(workspace)).toEqual(['data']);
  });

  it('refuses links to files and folders, symbolic and hard, wherever they stand in a path [verifies tools.workspace.confined]', async () => {
    await symlink(join(base, 'outside', 'secret.txt'), join(workspace, 'file-link'));
    await symlink(join(base, 'outside'), join(workspace, 'folder-link'));
    await symlink('data/sales.csv', join(workspace, 'inner-link'));
    await symlink(join(base, 'nowhere'), join(workspace, 'dangling'));
    await link(join(base, 'outside', 'secret.txt'), join(workspace, 'hard-link'));
    for (const path of ['file-link', 'folder-link/secret.txt', 'inner-link', 'dangling', 'hard-link']) {
      expect(await call('fs_read', { path })).toMatch(/^path_not_allowed: .*link/);
      expect(await call('fs_write', { path, content: 'overwritten' })).toMatch(/^path_not_allowed: .*link/);
    }
    expect(await call('fs_write', { path: 'folder-link/new/file', content: 'x' })).toMatch(/^path_not_allowed/);
    expect(await call('fs_list', { path: 'folder-link' })).toMatch(/^path_not_allowed/);
    expect(await call('fs_search', { query: secret })).not.toContain(`: ${secret}`);
    expect(await call('fs_list', { recursive: true })).not.toContain('secret.txt');
    expect(await readFile(join(base, 'outside', 'secret.txt'), 'utf8')).toBe(secret);
    expect(await readdir(join(base, 'outside'))).toEqual(['secret.txt']);
    await expect(stat(join(base, 'nowhere'))).rejects.toThrow('ENOENT');
  });

  it('refuses pipes, sockets and folders without waiting for them', async () => {
    execFileSync('mkfifo', [join(workspace, 'pipe')]);
    const server = createServer().listen(join(workspace, 'socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    try {
      for (const path of ['pipe', 'socket']) {
        expect(await call('fs_read', { path })).toMatch(/^path_not_allowed/);
        expect(await call('fs_write', { path, content: 'x' })).toMatch(/^path_not_allowed/);
      }
      expect(await call('fs_search', { query: 'x' })).toContain('no line contains');
      expect(await call('fs_read', { path: 'data' })).toMatch(/^tool_input_invalid: .*is a folder/);
      expect(await call('fs_write', { path: 'data', content: 'x' })).toMatch(/^tool_input_invalid: .*is a folder/);
      expect(await call('fs_read', { path: '.' })).toMatch(/^tool_input_invalid/);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it('says what is missing, without the host path', async () => {
    const answers = [
      await call('fs_read', { path: 'data/none.csv' }),
      await call('fs_list', { path: 'none' }),
      await call('fs_read', { path: 'data/sales.csv/deeper' }),
    ];
    expect(answers[0]).toBe('not_found: there is no "data/none.csv" in the workspace; fs_list shows what there is');
    expect(answers[2]).toMatch(/^tool_input_invalid: .*not a folder/);
    expect(answers.join()).not.toContain(base);
  });
});

it('never escapes, whatever the path is made of [verifies tools.workspace.confined]', async () => {
  const call = setUp();
  await symlink(join(base, 'outside'), join(workspace, 'out'));
  const part = fc.constantFrom('..', '.', '', 'data', 'out', 'secret.txt', '/', '\\', '\0', '~', '%2e%2e', 'outside', '／', 'sales.csv');
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 8 }), fc.boolean(), async (parts, write) => {
      const path = parts.join('/');
      const answer = write ? await call('fs_write', { path, content: 'mine' }) : await call('fs_read', { path });
      expect(answer).not.toContain(secret);
    }),
    { numRuns: 300 },
  );
  expect(await readdir(base)).toEqual(['outside', 'session']);
  expect(await readdir(join(base, 'outside'))).toEqual(['secret.txt']);
  expect(await readFile(join(base, 'outside', 'secret.txt'), 'utf8')).toBe(secret);
});

it('leaks nothing and writes nothing outside while folders and files are swapped for links [verifies tools.workspace.confined]', async () => {
  const call = setUp();
  const target = join(workspace, 'swap');
  await mkdir(join(workspace, 'real'));
  await writeFile(join(workspace, 'real', 'secret.txt'), 'inside');
  await symlink(join(base, 'outside'), join(workspace, 'evil'));
  await rename(join(workspace, 'real'), target);
  const startedMs = performance.now();
  const answers = new Map<string, number>();
  let swaps = 0;
  /** Long enough, and longer on a busy machine, where chance brings less in the same time. */
  const goesOn = () => {
    const tookMs = performance.now() - startedMs;
    const seen = (answers.get('inside') ?? 0) > 10 && (answers.get('path_not_allowed') ?? 0) > 0 && swaps > 50;
    return tookMs < 1_200 || (!seen && tookMs < 15_000);
  };
  const swapping = (async () => {
    while (goesOn()) {
      await rename(target, join(workspace, 'parked'));
      // A write may make the folder anew in between, which is its right.
      while (
        !(await rename(join(workspace, 'evil'), target).then(
          () => true,
          () => false,
        ))
      ) {
        await rename(target, join(workspace, `made-${swaps}-${performance.now()}`));
      }
      swaps += 1;
      await rename(target, join(workspace, 'evil'));
      await rename(join(workspace, 'parked'), target);
    }
  })();
  const count = (answer: string) => {
    const kind = answer.split(':', 1)[0] ?? '';
    answers.set(kind, (answers.get(kind) ?? 0) + 1);
  };
  const attack = async (action: () => Promise<string>) => {
    while (goesOn()) count(await action());
  };
  await Promise.all([
    swapping,
    attack(() => call('fs_read', { path: 'swap/secret.txt' })),
    attack(() => call('fs_write', { path: 'swap/written.txt', content: 'x' })),
    attack(() => call('fs_search', { query: 'the-secret', path: 'swap' })),
  ]);
  expect([...answers.keys()].filter((kind) => kind.includes(secret))).toEqual([]);
  expect(answers.get('inside')).toBeGreaterThan(10);
  expect(answers.get('path_not_allowed')).toBeGreaterThan(0);
  expect(swaps).toBeGreaterThan(50);
  expect(await readdir(join(base, 'outside'))).toEqual(['secret.txt']);
  expect(await readFile(join(base, 'outside', 'secret.txt'), 'utf8')).toBe(secret);
});

it('replaces a file in one step, keeping whether it may be executed', async () => {
  const call = setUp();
  await writeFile(join(workspace, 'run.sh'), 'old', { mode: 0o755 });
  const contents = ['a', 'b'].map((letter) => letter.repeat(300_000));
  let seen = new Set<string>();
  await Promise.all([
    ...Array.from({ length: 10 }, (_, index) => call('fs_write', { path: 'run.sh', content: contents[index % 2] })),
    (async () => {
      for (let index = 0; index < 30; index++) seen = seen.add(await readFile(join(workspace, 'run.sh'), 'utf8'));
    })(),
  ]);
  expect([...seen].every((text) => text === 'old' || contents.includes(text))).toBe(true);
  expect((await stat(join(workspace, 'run.sh'))).mode & 0o777).toBe(0o700);
  expect(await readdir(workspace)).toEqual(['data', 'run.sh']);
});

it('knows a file by one path only, so that a policy on paths cannot be got round', async () => {
  const call = setUp();
  for (const path of ['./data/sales.csv', 'data//sales.csv', 'data/./sales.csv', 'data/sales.csv/', './/data/sales.csv']) {
    expect(await call('fs_read', { path })).toMatch(/^path_not_allowed: .*plain form "data\/sales\.csv"/);
    expect(await call('fs_write', { path, content: 'x' })).toMatch(/^path_not_allowed/);
  }
  for (const path of ['data/', 'data']) expect(await call('fs_list', { path })).toMatch(/^data\/sales\.csv\t/);
  for (const path of ['', '.', './']) expect(await call('fs_list', { path })).toBe('data/');
  expect(await call('fs_list', { path: 'data//' })).toMatch(/^path_not_allowed/);
});

it('leaves the old content when a write is cancelled', async () => {
  const call = setUp();
  expect(await call('fs_write', { path: 'data/sales.csv', content: 'new' }, AbortSignal.abort())).toMatch(/^cancelled/);
  expect(await readFile(join(workspace, 'data/sales.csv'), 'utf8')).toContain('month');
});

it('reads a part of a long file and says how to go on', async () => {
  const call = setUp();
  await writeFile(join(workspace, 'long.txt'), Array.from({ length: 50_000 }, (_, index) => `line ${index + 1}`).join('\r\n'));
  const first = await call('fs_read', { path: 'long.txt', limit: 2 });
  expect(first).toBe('line 1\nline 2\n[lines 1 to 2 of 50000; go on with offset 3]');
  expect(await call('fs_read', { path: 'long.txt', offset: 49_999 })).toBe('line 49999\nline 50000\n[lines 49999 to 50000, the end]');
  expect(await call('fs_read', { path: 'long.txt', offset: 60_000 })).toBe('[the file has only 50000 lines]');
  expect(await call('fs_read', { path: 'long.txt' })).toMatch(/\[lines 1 to 2000 of 50000; go on with offset 2001\]$/);
  await writeFile(join(workspace, 'one-line.json'), 'é'.repeat(1_000_000));
  const cut = await call('fs_read', { path: 'one-line.json' });
  expect(cut).toMatch(/é{4000}…\n\[lines longer than 4000 characters are cut; byteOffset reads what is left out\]$/);
});

it('reads lines the same however they fall into pieces', async () => {
  const call = setUp();
  const line = fc
    .string({ unit: 'grapheme', maxLength: 40 })
    .map((text) => text.replaceAll(/[\r\n\0\ufeff]/g, '_').replaceAll(/\p{Cs}/gu, '_'));
  await fc.assert(
    fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 20 }), fc.integer({ min: 65_500, max: 65_560 }), async (lines, padding) => {
      const all = ['x'.repeat(1_000), ...Array.from({ length: Math.floor(padding / 1_001) }, () => 'y'.repeat(1_000)), ...lines, 'end'];
      await writeFile(join(workspace, 'lines.txt'), all.join('\n'));
      const answer = await call('fs_read', { path: 'lines.txt', offset: all.length - lines.length });
      expect(answer.split('\n').slice(0, -1)).toEqual([...lines, 'end']);
    }),
    { numRuns: 40 },
  );
});

it('does not send binary files to the model', async () => {
  const call = setUp();
  await writeFile(join(workspace, 'image.png'), Buffer.from([0x89, 0x50, 0, 1, 2]));
  await writeFile(join(workspace, 'latin1.txt'), Buffer.from('Gr\xfc\xdfe', 'latin1'));
  expect(await call('fs_read', { path: 'image.png' })).toMatch(/^tool_input_invalid: .*no UTF-8 text \(5 bytes\) but a binary file/);
  expect(await call('fs_read', { path: 'latin1.txt' })).toMatch(/^tool_input_invalid/);
  expect(await call('fs_search', { query: 'month' })).toBe('data/sales.csv:1: month,total\n[2 binary files skipped]');
});

it('bounds a listing and a search', async () => {
  const call = setUp();
  await mkdir(join(workspace, 'many'));
  await Promise.all(Array.from({ length: 1_100 }, (_, index) => writeFile(join(workspace, 'many', `f${index}`), 'needle\nneedle')));
  const listed = (await call('fs_list', { path: 'many' })).split('\n');
  expect(listed).toHaveLength(1_001);
  expect(listed.at(-1)).toMatch(/^\[1000 shown, there are more; go on with offset 1001/);
  const found = (await call('fs_search', { query: 'needle', limit: 7 })).split('\n');
  expect(found).toHaveLength(8);
  expect(found.at(-1)).toMatch(/^\[the first 7 matches are shown/);
  expect((await call('fs_list', { path: 'many', pattern: 'f11??' })).split('\n')).toHaveLength(1);
  expect(await call('fs_list', { path: 'many', pattern: 'f109?' })).toContain('many/f1099\t13');
});

it('takes a search text literally', async () => {
  const call = setUp();
  await writeFile(join(workspace, 'a.txt'), `${'a'.repeat(50_000)}!\n(a+)+$`);
  expect(await call('fs_search', { query: '(a+)+$' })).toBe('a.txt:2: (a+)+$');
});
