import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { strToU8, type Zippable, zipSync } from 'fflate';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createSandbox, createWorkspaces, type Sandbox } from '#tools';
import { createTestToolService, makeToolCall, readCall, said } from '../../../testing/index.ts';
import { createFileTextTool } from './file-text.ts';

let workspace: string;
let sandbox: Sandbox;
/** Ends what takes long soon. */
let hurried: Sandbox;
beforeAll(async () => {
  workspace = await mkdtemp(join(tmpdir(), 'nexus-file-text-'));
  sandbox = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, limits: { wallMs: 60_000 } });
  hurried = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, limits: { wallMs: 5_000 } });
});
afterAll(async () => {
  await Promise.all([sandbox.close(), hurried.close()]);
  await rm(workspace, { recursive: true, force: true });
});

async function text(path: string, input: Record<string, unknown> = {}, within = sandbox): Promise<string> {
  const workspaces = createWorkspaces();
  const service = createTestToolService([createFileTextTool({ workspaces, sandbox: within })], { workspace, workspaces });
  return said(await readCall(service, makeToolCall({ toolName: 'file_text', input: { path, ...input }, timeoutMs: 60_000 })));
}

const put = (path: string, content: Uint8Array) => writeFile(join(workspace, path), content);
const zip = (parts: Readonly<Record<string, string>>) =>
  zipSync(Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, strToU8(part)])) as Zippable); // as the library wants it
const word = (body: string) =>
  zip({ '[Content_Types].xml': '<Types/>', 'word/document.xml': `<?xml version="1.0"?><w:document><w:body>${body}</w:body></w:document>` });
const paragraph = (content: string, properties = '') =>
  `<w:p><w:pPr>${properties}</w:pPr><w:r><w:t xml:space="preserve">${content}</w:t></w:r></w:p>`;
const excel = (sheet: string, more: Readonly<Record<string, string>> = {}) =>
  zip({
    'xl/workbook.xml':
      '<workbook><sheets><sheet name="One" sheetId="1" r:id="rId1"/><sheet name="Two &amp; more" sheetId="2" r:id="rId2"/></sheets></workbook>',
    'xl/_rels/workbook.xml.rels':
      '<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Target="/xl/worksheets/sheet2.xml"/></Relationships>',
    'xl/worksheets/sheet1.xml': `<worksheet><sheetData>${sheet}</sheetData></worksheet>`,
    ...more,
  });

it('reads a Word document with its headings, lists and tables [verifies tools.files.documents]', { timeout: 60_000 }, async () => {
  const cell = (content: string) => `<w:tc>${paragraph(content)}</w:tc>`;
  await put(
    'a.docx',
    word(
      `${paragraph('Report', '<w:pStyle w:val="Heading1"/>')}${paragraph('5 &lt; 6 &amp; gr&#xfc;n')}${paragraph('first', '<w:numPr/>')}<w:tbl><w:tr>${cell('A')}${cell('B')}</w:tr></w:tbl>${paragraph('')}<w:p><w:r><w:t>one </w:t></w:r><w:r><w:t>two</w:t></w:r></w:p>`,
    ),
  );
  expect(await text('a.docx')).toBe('# Report\n5 < 6 & grün\n- first\n| A | B |\none two');
  expect(await text('a.docx', { offset: 2, limit: 2 })).toBe('5 < 6 & grün\n- first\n[lines 2 to 3 of 5; go on with offset 4]');
  expect(await text('a.docx', { offset: 9 })).toBe('[it has only 5 lines]');
});

it('reads sheets of a workbook as rows, with texts and dates [verifies tools.files.documents]', { timeout: 60_000 }, async () => {
  const rows =
    '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="C1" t="inlineStr"><is><t>x, "y"</t></is></c></row><row r="3"><c r="A3" s="1"><v>45000</v></c><c r="B3"><v>1.5</v></c><c r="C3" t="b"><v>1</v></c></row>';
  await put(
    'a.xlsx',
    excel(rows, {
      'xl/sharedStrings.xml': '<sst><si><r><t>Na</t></r><r><t>me</t></r></si></sst>',
      'xl/styles.xml': '<styleSheet><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
      'xl/worksheets/sheet2.xml': '<worksheet><sheetData><row r="1"><c r="A1"><v>7</v></c></row></sheetData></worksheet>',
    }),
  );
  const sheets = '["One","Two & more"]';
  expect(await text('a.xlsx')).toBe(`Name,,"x, ""y"""\n\n2023-03-15,1.5,TRUE\n[sheet "One" of ${sheets}]`);
  expect(await text('a.xlsx', { sheet: 'Two & more' })).toBe(`7\n[sheet "Two & more" of ${sheets}]`);
  expect(await text('a.xlsx', { sheet: 'None' })).toContain('it has no sheet "None"; its sheets are ["One","Two & more"]');
});

it('says what it cannot read', { timeout: 60_000 }, async () => {
  await put('a.txt', Buffer.from('text'));
  expect(await text('a.txt')).toMatch(/^tool_input_invalid: "a.txt" is no .pdf, .docx or .xlsx but a/);
  expect(await text('none.docx')).toMatch(/^not_found/);
  await put('empty.docx', zip({ other: 'x' }));
  expect(await text('empty.docx')).toMatch(/^tool_input_invalid: .*it has no word\/document.xml$/);
  const whole = word(paragraph('x'.repeat(5_000)));
  for (const [name, content] of [
    ['cut.docx', whole.slice(0, 100)],
    ['odd.docx', Buffer.concat([whole.slice(0, 60), Buffer.alloc(200, 0xa5), whole.slice(260)])],
    ['xml.docx', zip({ 'word/document.xml': '<w:p><w:t>a</w:t><w:p' })],
    ['sheet.xlsx', excel('<row><c r="ZZZZZZZ1"><v>1</v></c').slice(0, -60)],
  ] as const) {
    await put(name, content);
    expect(`${name} ${await text(name)}`).toMatch(/^\S+ tool_input_invalid: /);
  }
});

it.each([
  [
    'a bomb',
    () => zipSync({ 'word/document.xml': [new Uint8Array(20_000_000), { level: 9 }] }),
    /^tool_input_invalid: .*unpacked it is larger/,
  ],
  [
    'a bomb that lies of its size',
    () => {
      const packed = Buffer.from(zipSync({ 'word/document.xml': [new Uint8Array(20_000_000), { level: 9 }] }));
      // The size in the directory at the end, which is what is asked for.
      packed.writeUInt32LE(1_000, packed.indexOf('PK\u0001\u0002', 0, 'latin1') + 24);
      return packed;
    },
    /^(tool_input_invalid|limit_exceeded|\[there is no text)/,
  ],
  ['entities of entities', () => word(`<!DOCTYPE x [<!ENTITY a "&b;&b;"><!ENTITY b "boom">]>${paragraph('&a;'.repeat(1_000))}`), /^(&a;)+/],
  [
    'very many rows',
    () => excel(Array.from({ length: 10_000 }, (_, index) => `<row r="${index + 1}"><c><v>${index}</v></c></row>`).join('')),
    /of 10000; go on with offset 2001/,
  ],
  ['rows far apart', () => excel('<row r="999999999"><c r="XFD1"><v>1</v></c></row><row r="1e99"><c/></row>'), /,1\n/],
  ['a line without an end', () => word(paragraph('x'.repeat(1_000_000))), /^x+…$/],
  ['tags that never end', () => word('<w:p '.repeat(200_000)), /^(\[there is no text|tool_input_invalid)/],
])('ends with %s, and holds nobody up [verifies tools.files.documents]', { timeout: 60_000 }, async (name, make, expected) => {
  const path = name.includes('rows') ? 'hostile.xlsx' : 'hostile.docx';
  await put(path, make());
  let longest = 0;
  let last = performance.now();
  const cancel = systemTimers.every(5, () => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  });
  const answer = await text(path, {}, hurried).finally(cancel);
  // A machine that is busy may take longer than the sandbox gives: that is an end, too.
  expect(answer.startsWith('limit_exceeded') || expected.test(answer), answer.slice(-200)).toBe(true);
  expect(longest).toBeLessThan(3_000);
});
