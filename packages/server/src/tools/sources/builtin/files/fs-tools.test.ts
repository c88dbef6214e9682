import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createSandbox, createWorkspaces, type Sandbox } from '#tools';
import { createTestToolService, makeToolCall, readCall, said } from '../../../testing/index.ts';
import { createFsTools } from '../fs.ts';

let workspace: string;
let sandbox: Sandbox;
beforeAll(() => {
  sandbox = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1 });
});
afterAll(() => sandbox.close());
beforeEach(async () => {
  workspace = await mkdtemp(join(tmpdir(), 'nexus-fs-tools-'));
});
afterEach(() => rm(workspace, { recursive: true, force: true }));

async function call(toolName: string, input: Record<string, unknown>): Promise<string> {
  const workspaces = createWorkspaces();
  const tools = createFsTools({ workspaces, sandbox, clock: systemClock, timers: systemTimers });
  return said(
    await readCall(createTestToolService(tools, { workspace, workspaces }), makeToolCall({ toolName, input, timeoutMs: 60_000 })),
  );
}

const put = async (path: string, content: string | Buffer) => {
  await mkdir(join(workspace, path, '..'), { recursive: true });
  await writeFile(join(workspace, path), content);
};
const read = (path: string) => readFile(join(workspace, path), 'utf8');

/** The longest that a timer was kept waiting meanwhile. */
async function longestStallMs(work: Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  const cancel = systemTimers.every(5, () => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  });
  await work.finally(cancel);
  return Math.max(longest, performance.now() - last);
}

describe('fs_list', () => {
  beforeEach(async () => {
    for (const path of ['a.md', 'src/b.ts', 'src/c.js', 'src/deep/d.ts', 'src/deep/er/e.ts']) await put(path, 'x');
  });

  it('finds by patterns of names and of paths', async () => {
    const list = async (input: Record<string, unknown>) => (await call('fs_list', input)).split('\n').map((line) => line.split('\t')[0]);
    expect(await list({ pattern: '*.ts', recursive: true })).toEqual(['src/b.ts', 'src/deep/d.ts', 'src/deep/er/e.ts']);
    expect(await list({ pattern: 'src/*.{ts,js}' })).toEqual(['src/b.ts', 'src/c.js']);
    expect(await list({ pattern: '**/er/*.ts' })).toEqual(['src/deep/er/e.ts']);
    expect(await list({ path: 'src', pattern: 'deep/**' })).toEqual(['src/deep/', 'src/deep/d.ts', 'src/deep/er/', 'src/deep/er/e.ts']);
    expect(await list({ pattern: 'src/?.ts' })).toEqual(['src/b.ts']);
    expect(await list({ depth: 2 })).toEqual(['a.md', 'src/', 'src/b.ts', 'src/c.js', 'src/deep/']);
    expect(await list({ pattern: 'none/*' })).toEqual(['[nothing fits none/*]']);
  });

  it('pages, each line once', async () => {
    const seen: string[] = [];
    for (let offset = 1; ; ) {
      const lines = (await call('fs_list', { recursive: true, offset, limit: 3 })).split('\n');
      seen.push(...lines.filter((line) => !line.startsWith('[')));
      const next = /go on with offset (\d+)/.exec(lines.at(-1) ?? '')?.[1];
      if (next === undefined) break;
      offset = Number(next);
    }
    expect(seen.join('\n')).toBe(await call('fs_list', { recursive: true }));
    expect(await call('fs_list', { offset: 50 })).toBe('[there are only 2]');
  });
});

describe('fs_read', () => {
  it('reads a range of bytes as text, in whole characters, and says how to go on', async () => {
    await put('a.txt', 'aé€😀z');
    expect(await call('fs_read', { path: 'a.txt', byteOffset: 0, byteLimit: 5 })).toBe('aé\n[bytes 0 to 2 of 11; go on with byteOffset 3]');
    expect(await call('fs_read', { path: 'a.txt', byteOffset: 3 })).toBe('€😀z\n[bytes 3 to 10 of 11, the end]');
    expect(await call('fs_read', { path: 'a.txt', byteOffset: 11 })).toBe('[the file has only 11 bytes]');
    const text = await fc.sample(fc.string({ unit: 'grapheme-composite', minLength: 300, maxLength: 300 }), 1)[0]?.replaceAll('\0', '_');
    await put('b.txt', text ?? '');
    let whole = '';
    for (let byteOffset = 0; ; ) {
      const answer = await call('fs_read', { path: 'b.txt', byteOffset, byteLimit: 7 });
      const at = answer.lastIndexOf('\n[bytes ');
      whole += answer.slice(0, at);
      const next = /go on with byteOffset (\d+)\]$/.exec(answer)?.[1];
      if (next === undefined) break;
      byteOffset = Number(next);
    }
    expect(whole).toBe(text);
  });

  it('says what a file is that is no text, and gives its bytes as base64', async () => {
    const png = Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 255]);
    await put('a.png', png);
    await put('b.docx', Buffer.from('PK\u0003\u0004rest\0'));
    await put('c.txt', Buffer.from('Gr\xfcn', 'latin1'));
    expect(await call('fs_read', { path: 'a.png' })).toMatch(
      /^tool_input_invalid: "a.png" is no UTF-8 text \(10 bytes\) but a PNG image; as: "base64"/,
    );
    expect(await call('fs_read', { path: 'b.docx' })).toContain('but a Word document');
    expect(await call('fs_read', { path: 'c.txt' })).toContain('but a file in another encoding');
    expect(await call('fs_read', { path: 'a.png', as: 'base64' })).toBe(
      `${png.toString('base64')}\n[PNG image; bytes 0 to 9 of 10, the end]`,
    );
    expect(await call('fs_read', { path: 'a.png', as: 'base64', byteOffset: 8, byteLimit: 1 })).toBe(
      'AA==\n[PNG image; bytes 8 to 8 of 10; go on with byteOffset 9]',
    );
    expect(await call('fs_read', { path: 'a.png', byteOffset: 2 })).toMatch(/^tool_input_invalid/);
    expect(await call('fs_read', { path: 'a.png', as: 'base64', offset: 2 })).toMatch(/^tool_input_invalid: offset and limit count lines/);
    await put('big.bin', Buffer.alloc(300_000));
    expect((await call('fs_read', { path: 'big.bin', as: 'base64' })).length).toBeLessThan(40_000);
  });
});

describe('fs_write', () => {
  it('writes bytes, creates only what is not there, and appends', async () => {
    expect(await call('fs_write', { path: 'a.bin', content: 'AP8=', encoding: 'base64' })).toBe('wrote 2 bytes to a.bin');
    expect(await readFile(join(workspace, 'a.bin'))).toEqual(Buffer.from([0, 255]));
    expect(await call('fs_write', { path: 'a.bin', content: '%%', encoding: 'base64' })).toMatch(
      /^tool_input_invalid: the content is no base64/,
    );
    expect(await call('fs_write', { path: 'a.bin', content: 'x', mode: 'create' })).toMatch(/^conflict/);
    expect(await call('fs_write', { path: 'b.txt', content: 'one\n', mode: 'create' })).toBe('wrote 4 bytes to b.txt');
    expect(await call('fs_write', { path: 'b.txt', content: 'two\n', mode: 'append' })).toBe('added 4 bytes to b.txt, which has 8 now');
    expect(await call('fs_write', { path: 'c.txt', content: 'new', mode: 'append' })).toBe('added 3 bytes to c.txt, which has 3 now');
    expect(await read('b.txt')).toBe('one\ntwo\n');
  });
});

describe('fs_search', () => {
  it('finds by regular expressions, with context, in files that fit [verifies tools.files.search]', async () => {
    await put('a.ts', 'import x\nconst a = 1;\nconst b = 22;\nlet c\n');
    await put('b.md', 'const a = 1;\n');
    expect(await call('fs_search', { query: 'const \\w = \\d\\d', regex: true })).toBe('a.ts:3: const b = 22;');
    expect(await call('fs_search', { query: 'CONST', regex: true, pattern: '*.md' })).toBe('b.md:1: const a = 1;');
    expect(await call('fs_search', { query: 'CONST', regex: true, caseSensitive: true })).toBe('[no line fits "CONST"]');
    expect(await call('fs_search', { query: 'b', word: true, context: 1 })).toBe(
      'a.ts-2- const a = 1;\na.ts:3: const b = 22;\na.ts-4- let c',
    );
    expect(await call('fs_search', { query: '^(import|let)', regex: true, context: 0 })).toBe('a.ts:1: import x\na.ts:4: let c');
    expect(await call('fs_search', { query: '^(import|let)', regex: true, context: 1 })).toBe(
      'a.ts:1: import x\na.ts-2- const a = 1;\na.ts-3- const b = 22;\na.ts:4: let c',
    );
    expect(await call('fs_search', { query: 'a(', word: true })).toBe('[no line contains "a("]');
    for (const query of ['(', '(?=a)', 'a**', '\\1'])
      expect(await call('fs_search', { query, regex: true })).toMatch(/^tool_input_invalid: the expression does not compile/);
    expect(await call('fs_search', { query: '(\\pL{100}){9}', regex: true })).toMatch(/^tool_input_invalid: the expression is too large/);
  });

  it.each(['(a+)+$', '(a|aa)*c', '([a-c]+)*d$', '(?:[ab]*a[ab]{120})[c-e]', '(?s).{250}[c-e]', '(?:[a-c][^k]?){90}\\b'])(
    'finds with %s in a time that the length of the text gives, and gives others their turn [verifies tools.files.search]',
    async (query) => {
      let seed = 1;
      const random = () => {
        seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
        return seed & 0x10000 ? 'a' : 'b';
      };
      await put('hostile.txt', Array.from({ length: 8 }, () => `${Array.from({ length: 20_000 }, random).join('')}!`).join('\n'));
      const searched = call('fs_search', { query, regex: true });
      expect(await longestStallMs(searched)).toBeLessThan(3_000);
      expect(await searched).not.toMatch(/^\w+: /);
    },
  );

  it('gives up a search that takes too long, with what it found', async () => {
    await put('long.txt', `${'ab'.repeat(50)}\n`.repeat(20));
    let now = 0;
    const workspaces = createWorkspaces();
    const clock = { ...systemClock, monotonic: () => (now += 10_000) };
    const tools = createFsTools({ workspaces, sandbox, clock, timers: systemTimers });
    const service = createTestToolService(tools, { workspace, workspaces });
    const answer = said(await readCall(service, makeToolCall({ toolName: 'fs_search', input: { query: 'b' } })));
    expect(answer).toMatch(/^long.txt:1: abab/);
    expect(answer).toMatch(/\[the search took too long and was not finished; .*\]$/);
  });
});

describe('fs_edit', () => {
  it('replaces what stands there once, or everywhere when told so, all edits or none [verifies tools.files.edit]', async () => {
    await put('a.txt', 'one\ntwo\nthree\ntwo\n');
    expect(
      await call('fs_edit', {
        path: 'a.txt',
        edits: [
          { old: 'one', new: '1' },
          { old: 'three\n', new: '' },
        ],
      }),
    ).toBe('changed a.txt in 2 places, at line 1, 3; it has 10 bytes now');
    expect(await read('a.txt')).toBe('1\ntwo\ntwo\n');
    expect(
      await call('fs_edit', {
        path: 'a.txt',
        edits: [
          { old: '1', new: 'x' },
          { old: 'two', new: '2' },
        ],
      }),
    ).toMatch(/^tool_input_invalid: edits\[1\]\.old stands there 2 times, at line 2, 3; .*Nothing was changed$/);
    expect(await read('a.txt')).toBe('1\ntwo\ntwo\n');
    expect(await call('fs_edit', { path: 'a.txt', edits: [{ old: 'two', new: '$&', all: true }] })).toMatch(/in 2 places, at line 2, 3/);
    expect(await read('a.txt')).toBe('1\n$&\n$&\n');
    expect(await call('fs_edit', { path: 'a.txt' })).toMatch(/^tool_input_invalid: give either edits or a patch/);
    expect(await call('fs_edit', { path: 'none.txt', edits: [{ old: 'a', new: 'b' }] })).toMatch(/^not_found/);
  });

  it('says why a text does not stand there, with the nearest lines', async () => {
    await put('a.ts', 'function a() {\n\treturn 1;\n}\n\nfunction b() {\n\treturn 2;\n}\n');
    const edit = (old: string) => call('fs_edit', { path: 'a.ts', edits: [{ old, new: 'x' }] });
    expect(await edit('function b() {\n  return 2;\n}')).toBe(
      'tool_input_invalid: old does not stand in the file: at line 5 it does but for blanks, which must be the same. Nothing was changed.\n5: function b() {\n6: \treturn 2;\n7: }',
    );
    expect(await edit('function b() {\n\treturn 3;\n}')).toMatch(
      /its first line is at line 5, but then other text follows than "\\treturn 3;"\. Nothing was changed\.\n5: function b\(\) \{\n6: \treturn 2;/,
    );
    expect(await edit('nowhere')).toMatch(/not even its first line does; read the file first/);
  });

  it('keeps the ends of lines of the file', async () => {
    await put('a.txt', 'one\r\ntwo\r\nthree\r\n');
    await call('fs_edit', { path: 'a.txt', edits: [{ old: 'one\ntwo', new: '1\n2\n2b' }] });
    expect(await read('a.txt')).toBe('1\r\n2\r\n2b\r\nthree\r\n');
    await call('fs_edit', { path: 'a.txt', patch: '@@ -3,2 +3,2 @@\n 2b\n-three\n+3\n' });
    expect(await read('a.txt')).toBe('1\r\n2\r\n2b\r\n3\r\n');
  });

  it('applies a patch whose numbers are wrong, and says which hunk does not fit and why [verifies tools.files.edit]', async () => {
    await put('a.txt', Array.from({ length: 30 }, (_, index) => `line ${index + 1}`).join('\n'));
    const patch =
      'diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -99,9 +1 @@ what\n line 4\n-line 5\n+line five\n line 6\n@@\n line 29\n+added\n line 30\n';
    expect(await call('fs_edit', { path: 'a.txt', patch })).toMatch(/^changed a.txt in 2 places, at line 4, 29/);
    expect(await read('a.txt')).toBe(
      Array.from({ length: 30 }, (_, index) => (index === 4 ? 'line five' : index === 28 ? 'line 29\nadded' : `line ${index + 1}`)).join(
        '\n',
      ),
    );
    const answer = await call('fs_edit', {
      path: 'a.txt',
      patch: '@@ -1,1 +1,1 @@\n-line 1\n+x\n@@ -10,3 +10,3 @@\n line 10\n-line eleven\n+y\n line 12\n',
    });
    expect(answer).toBe(
      'tool_input_invalid: hunk 2 of 2 (@@ -10,3 +10,3 @@) does not fit: its first line stands at line 10, but at line 11 it expects "line eleven". Nothing was changed; there is\n10: line 10\n11: line 11\n12: line 12\n13: line 13',
    );
    expect(await call('fs_edit', { path: 'a.txt', patch: '@@ -3 +3 @@\n-nowhere\n+x' })).toMatch(
      /its first line "nowhere" stands nowhere in the file.*around line 3 there is\n1: line 1/s,
    );
    expect(
      await call('fs_edit', { path: 'a.txt', patch: '--- a\n+++ b\n@@ -1 +1 @@\n-line 1\n+x\n--- c\n+++ d\n@@ -1 +1 @@\n-y\n+z\n' }),
    ).toMatch(/several files/);
    expect(await call('fs_edit', { path: 'a.txt', patch: 'nothing' })).toMatch(/the patch has no hunk/);
    expect(await call('fs_edit', { path: 'a.txt', patch: '@@ -1 +1 @@\n-line 1\nx' })).toMatch(/line 3 of the patch begins with none of/);
    expect(await read('a.txt')).toMatch(/^line 1\n/);
  });

  const someLines = fc.array(fc.constantFrom('a', 'b', 'c', '', '  a', '-x', '+y', '@@ z'), { maxLength: 25 });

  it('makes the other text of what fs_diff says, whatever the texts [verifies tools.files.edit]', async () => {
    await fc.assert(
      fc.asyncProperty(someLines, someLines, fc.constantFrom('', '\n'), fc.constantFrom('', '\n'), async (one, other, end, otherEnd) => {
        const [old, wanted] = [one.join('\n') + end, other.join('\n') + otherEnd];
        await put('p.txt', old);
        await put('q.txt', wanted);
        const patch = await call('fs_diff', { path: 'p.txt', other: 'q.txt' });
        if (old === wanted) return void expect(patch).toBe('[no difference]');
        const answer = await call('fs_edit', { path: 'p.txt', patch });
        expect(`${answer.slice(0, 7)} ${await read('p.txt')}`).toBe(`changed ${wanted}`);
      }),
      { numRuns: 60 },
    );
  });

  it('holds nobody up with a hostile text', async () => {
    await put('same.txt', 'a\n'.repeat(900_000));
    const patch = Array.from({ length: 100 }, () => `@@ -1 +1 @@\n${' a\n'.repeat(1_000)}-b\n+c\n`).join('');
    const edits = Array.from({ length: 50 }, () => ({ old: `${'a\n'.repeat(1_000)}b`, new: 'x' }));
    for (const input of [{ patch }, { edits }]) {
      const answered = call('fs_edit', { path: 'same.txt', ...input });
      expect(await longestStallMs(answered)).toBeLessThan(2_000);
      expect(await answered).toMatch(/^tool_input_invalid/);
    }
    await put('huge.txt', Buffer.alloc(3 * 1024 * 1024, 'a'));
    expect(await call('fs_edit', { path: 'huge.txt', edits: [{ old: 'a', new: 'b' }] })).toMatch(/^payload_too_large/);
  });
});

describe('fs_diff', () => {
  it('compares files and texts', async () => {
    await put('a.txt', 'one\ntwo\nthree\n');
    expect(await call('fs_diff', { path: 'a.txt', text: 'one\n2\nthree\n', context: 0 })).toBe(
      '--- a.txt\n+++ a.txt\n@@ -2,1 +2,1 @@\n-two\n+2\n',
    );
    expect(await call('fs_diff', { path: 'a.txt', text: 'one\ntwo\nthree\n' })).toBe('[no difference]');
    expect(await call('fs_diff', { path: 'a.txt' })).toMatch(/^tool_input_invalid: give either other or text/);
    expect(await call('fs_diff', { path: 'a.txt', other: 'b.txt' })).toMatch(/^not_found/);
  });

  it('gives up on texts that have nothing in common, and holds nobody up [verifies tools.files.diff.bounded]', async () => {
    await put('a.txt', Array.from({ length: 20_000 }, (_, index) => `a${index}`).join('\n'));
    await put('b.txt', Array.from({ length: 20_000 }, (_, index) => `b${(index * 7) % 20_000}`).join('\n'));
    const compared = call('fs_diff', { path: 'a.txt', other: 'b.txt' });
    expect(await longestStallMs(compared)).toBeLessThan(3_000);
    expect(await compared).toMatch(/^limit_exceeded/);
  });
});

describe('fs_move and fs_delete', () => {
  it('move files and folders, and replace nothing unless told so [verifies tools.files.paths]', async () => {
    await put('a/one.txt', '1');
    await put('a/b/two.txt', '2');
    await put('c.txt', 'c');
    expect(await call('fs_move', { path: 'c.txt', to: 'a/one.txt' })).toMatch(/^conflict/);
    expect(await call('fs_move', { path: 'c.txt', to: 'a/one.txt', replace: true })).toBe('moved c.txt to a/one.txt');
    expect(await call('fs_move', { path: 'a', to: 'z/y' })).toBe('moved the folder a with 2 files to z/y');
    expect((await readdir(workspace, { recursive: true })).sort()).toEqual(['z', 'z/y', 'z/y/b', 'z/y/b/two.txt', 'z/y/one.txt']);
    expect(await read('z/y/one.txt')).toBe('c');
    expect(await call('fs_move', { path: 'z', to: 'z/inner' })).toMatch(/^tool_input_invalid: "z\/inner" lies in what is moved/);
    expect(await call('fs_move', { path: 'none', to: 'x' })).toMatch(/^not_found/);
    expect(await call('fs_move', { path: '.', to: 'x' })).toMatch(/^tool_input_invalid/);
  });

  it('delete a file, and a folder only when told so', async () => {
    await put('a/one.txt', '1');
    await put('b.txt', '2');
    expect(await call('fs_delete', { path: 'a' })).toMatch(/^tool_input_invalid: "a" is a folder with 1 file; .* recursive: true$/);
    expect(await call('fs_delete', { path: 'b.txt' })).toBe('deleted b.txt');
    expect(await call('fs_delete', { path: 'b.txt' })).toMatch(/^not_found/);
    expect(await call('fs_delete', { path: 'a', recursive: true })).toBe('deleted the folder a with 1 file');
    expect(await call('fs_delete', { path: '', recursive: true })).toMatch(/^tool_input_invalid/);
    expect(await readdir(workspace)).toEqual([]);
  });
});
