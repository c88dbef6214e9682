import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestServer, type TestServer } from './support/server.ts';

let server: TestServer;
const dataDir = mkdtempSync(join(tmpdir(), 'nexus-file-tools-'));

beforeAll(async () => {
  mkdirSync(join(dataDir, 'policies'));
  writeFileSync(
    join(dataDir, 'policies', 'files.cedar'),
    `@id("kept") forbid (principal, action == Action::"file.write", resource is File) when { resource.path like "kept/*" };
     @id("no-keys") forbid (principal is Agent, action == Action::"tool.execute", resource is Tool)
     when { context.arguments has path && context.arguments.path like "*.pem" };`,
  );
  server = await startTestServer({ dataDir });
  await server.agent('writer', { tools: ['fs_*', 'file_text'], policy: { allow: ['fs_*', 'file_text'] }, maxSteps: 30 });
});
afterAll(async () => {
  await server.verifyRuns();
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

/** One turn of the model for each of these, with the calls that it makes at once; what each tool said. */
async function turns(...steps: readonly string[]): Promise<string[]> {
  const sessionId = await server.session({ agent: 'writer' });
  const input = `${steps.map((step) => `[[sim tools=${step}]]`).join('')}[[sim say="done"]]`;
  const { run, events } = await server.finish({ sessionId, input });
  expect(run.status).toBe('completed');
  return events.flatMap((event) => {
    if (event.type !== 'tool.completed') return [];
    const output = String(event.data.output);
    if (!output.startsWith('{"error":')) return [output];
    const { code, message } = JSON.parse(output).error;
    return [`${code}: ${message}`];
  });
}

it('a model works with its files by every tool, in one run [verifies tools.files.edit]', async () => {
  const said = await turns(
    'fs_write(path="src/a.ts",content="const a = 1;\\nconst b = 2;\\n")',
    'fs_edit(path="src/a.ts",edits=[{"old":"a = 1","new":"a = 10"}])',
    'fs_edit(path="src/a.ts",patch="@@ -2 +2,2 @@\\n-const b = 2;\\n+const b = 20;\\n+const c = 30;\\n")',
    'fs_search(query="= \\\\d0;",regex=true,pattern="*.ts")',
    'fs_diff(path="src/a.ts",text="const a = 10;\\n",context=0)',
    'fs_move(path="src",to="lib")',
    'fs_write(path="lib/raw.bin",content="AAEC",encoding="base64",mode="create")',
    'fs_read(path="lib/raw.bin",as="base64")',
    'fs_list(pattern="lib/**/*.ts")',
    'fs_delete(path="lib/raw.bin")',
    'fs_list(recursive=true)',
  );
  expect(said).toEqual([
    'wrote 26 bytes to src/a.ts',
    'changed src/a.ts in 1 place, at line 1; it has 27 bytes now',
    'changed src/a.ts in 1 place, at line 2; it has 42 bytes now',
    'src/a.ts:1: const a = 10;\nsrc/a.ts:2: const b = 20;\nsrc/a.ts:3: const c = 30;',
    '--- src/a.ts\n+++ src/a.ts\n@@ -2,2 +1,0 @@\n-const b = 20;\n-const c = 30;\n',
    'moved the folder src with 1 file to lib',
    'wrote 3 bytes to lib/raw.bin',
    'AAEC\n[binary file; bytes 0 to 2 of 3, the end]',
    'lib/a.ts\t42',
    'deleted lib/raw.bin',
    'lib/\nlib/a.ts\t42',
  ]);
});

it('a model reads a PDF of its session page by page, and hears what is wrong with another [verifies tools.files.pdf]', async () => {
  const page = (number: number, text: string) => {
    const content = `BT /F1 12 Tf 72 700 Td (${text}) Tj ET`;
    const about = `/Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> /Contents ${number + 1} 0 R`;
    return `${number} 0 obj << ${about} >> endobj\n${number + 1} 0 obj << /Length ${content.length} >> stream\n${content}\nendstream endobj\n`;
  };
  // Without a table of where its parts are, which readers make up for.
  const pdf = Buffer.from(
    `%PDF-1.7\n1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj\n2 0 obj << /Type /Pages /Kids [4 0 R 6 0 R] /Count 2 >> endobj\n` +
      `3 0 obj << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> endobj\n${page(4, 'Annual report')}${page(6, 'Revenue 12')}trailer << /Root 1 0 R >>\n`,
  );
  const write = (path: string, content: Buffer) => `fs_write(path="${path}",content="${content.toString('base64')}",encoding="base64")`;
  const said = await turns(
    write('report.pdf', pdf),
    write('cut.pdf', pdf.subarray(0, 40)),
    'file_text(path="report.pdf",page=2),file_text(path="cut.pdf")',
  );
  expect(said.slice(2).sort()).toEqual([
    '[page 2 of 2]\nRevenue 12',
    expect.stringMatching(/^tool_input_invalid: "cut.pdf" cannot be read as a PDF document: it is broken/),
  ]);
});

it('of edits of one file that a model makes at once, none is lost without a word [verifies tools.files.edit]', async () => {
  const edit = (old: string, by: string) => `fs_edit(path="a.txt",edits=[{"old":"${old}","new":"${by}"}])`;
  const said = await turns('fs_write(path="a.txt",content="one two")', `${edit('one', '1')},${edit('two', '2')}`, 'fs_read(path="a.txt")');
  const failed = said.filter((text) => text.startsWith('conflict: another call is changing "a.txt"'));
  expect([failed.length, said.at(-1)]).toEqual([1, expect.stringMatching(/^(1 two|one 2)$/)]);
});

it('a rule on paths holds for both names of what is moved [verifies tools.files.paths]', async () => {
  const said = await turns(
    'fs_write(path="a.txt",content="x")',
    'fs_move(path="a.txt",to="kept/a.txt")',
    'fs_move(path="a.txt",to="server.pem")',
    'fs_move(path="server.pem",to="b.txt")',
    'fs_edit(path="kept/none.txt",edits=[{"old":"a","new":"b"}])',
    'fs_list(recursive=true)',
  );
  expect(said[1]).toMatch(/^policy_denied: "kept\/a.txt": .*kept/);
  expect(said[2]).toMatch(/^policy_denied: "server.pem": .*no-keys/);
  expect(said.at(-1)).toBe('a.txt\t1');
});
