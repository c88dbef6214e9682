import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { zlibSync } from 'fflate';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createSandbox, createWorkspaces, type Sandbox } from '#tools';
import { createTestToolService, makeToolCall, readCall, said } from '../../../testing/index.ts';
import { createFileTextTool } from './file-text.ts';
import { chineseFont, type PdfObjects, packedStream, pdfOf, pdfStream, pdfWithPages, shownText } from './pdf.testkit.ts';

let workspace: string;
let sandbox: Sandbox;
beforeAll(async () => {
  workspace = await mkdtemp(join(tmpdir(), 'nexus-pdf-'));
  // As servers have it, for a machine that is busy.
  sandbox = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, limits: { wallMs: 60_000 } });
});
afterAll(async () => {
  await sandbox.close();
  await rm(workspace, { recursive: true, force: true });
});

async function read(path: string, input: Record<string, unknown> = {}, within = sandbox): Promise<string> {
  const workspaces = createWorkspaces();
  const service = createTestToolService([createFileTextTool({ workspaces, sandbox: within })], { workspace, workspaces });
  return said(await readCall(service, makeToolCall({ toolName: 'file_text', input: { path, ...input }, timeoutMs: 90_000 })));
}

async function text(content: Uint8Array, input: Record<string, unknown> = {}, within = sandbox): Promise<string> {
  await writeFile(join(workspace, 'a.pdf'), content);
  return read('a.pdf', input, within);
}

const slow = { timeout: 100_000 };
const inFont = (font: ReturnType<typeof chineseFont>, ...lines: readonly string[]) => pdfOf(pdfWithPages([shownText(...lines)], ...font));

describe('the text of a PDF', () => {
  it('comes page by page, with its lines as they stand [verifies tools.files.pdf]', slow, async () => {
    const pdf = pdfOf(pdfWithPages([shownText('Annual report', '1.20 \\(net\\)', 'caf\\351'), shownText('The end')]));
    expect(await text(pdf)).toBe('[page 1 of 2]\nAnnual report\n1.20 (net)\ncafé\n[page 2 of 2]\nThe end');
    expect(await text(pdf, { page: 2 })).toBe('[page 2 of 2]\nThe end');
    expect(await text(pdf, { page: 3 })).toBe('[it has only 2 pages]');
  });

  it('goes on where an answer says, by pages and by lines [verifies tools.files.pdf]', slow, async () => {
    const pdf = pdfOf(pdfWithPages([1, 2, 3].map((page) => shownText(`${page}a`, `${page}b`, `${page}c`))));
    expect(await text(pdf, { pages: 1 })).toBe('[page 1 of 3]\n1a\n1b\n1c\n[go on with page 2]');
    expect(await text(pdf, { limit: 4 })).toBe('[page 1 of 3]\n1a\n1b\n1c\n[page 2 of 3]\n2a\n[go on with page 2 and offset 2]');
    expect(await text(pdf, { page: 2, offset: 2, limit: 2 })).toBe('[page 2 of 3]\n2b\n2c\n[go on with page 3]');
    expect(await text(pdf, { limit: 3 })).toBe('[page 1 of 3]\n1a\n1b\n1c\n[go on with page 2]');
    expect(await text(pdf, { page: 3, offset: 9 })).toBe('[page 3 of 3]\n[page 3 has only 3 lines]');
  });

  it('is bounded whatever a page holds, and all of it can be read [verifies tools.files.pdf]', slow, async () => {
    const lines = Array.from({ length: 2_500 }, (_, line) => `line ${line} ${'"'.repeat(30)}`);
    const pdf = pdfOf(pdfWithPages([shownText(...lines)]));
    const seen: string[] = [];
    let input: Record<string, unknown> = {};
    for (let calls = 0; calls < 20; calls++) {
      const answer = await text(pdf, input);
      expect(answer.length).toBeLessThan(45_000);
      seen.push(...answer.split('\n').filter((line) => line.startsWith('line')));
      const next = /go on with page (\d+) and offset (\d+)/.exec(answer);
      if (next === null) break;
      input = { page: Number(next[1]), offset: Number(next[2]) };
    }
    expect(seen).toEqual(lines);
  });

  it('leaves nothing out that would not fit, and goes on there [verifies tools.files.pdf]', slow, async () => {
    const long = 'x'.repeat(39_995);
    const pdf = pdfOf(pdfWithPages([`${shownText('first')} BT /F1 0.02 Tf 72 39000 Td (${long}) Tj ET`, shownText('next')]));
    expect(await text(pdf)).toBe('[page 1 of 2]\nfirst\n[go on with page 1 and offset 2]');
    expect(await text(pdf, { offset: 2 })).toBe(`[page 1 of 2]\n${long}\n[go on with page 2]`);
  });

  it('says of pages without text that pictures are not read, and which they are [verifies tools.files.pdf]', slow, async () => {
    expect(await text(pdfOf(pdfWithPages(['0 0 9 9 re f', '0 0 9 9 re f'])))).toBe(
      '[pages 1 to 2 of 2 without text; what is in pictures, as of a scan, is not read]',
    );
    expect(await text(pdfOf(pdfWithPages([shownText('a'), '0 0 9 9 re f'])))).toContain('\na\n[page 2 of 2 without text; ');
  });

  it('is Chinese by the table in the file, and by encodings that are those of Unicode [verifies tools.files.pdf]', slow, async () => {
    const table =
      '/CIDInit /ProcSet findresource begin 12 dict begin begincmap 1 begincodespacerange <0000> <ffff> endcodespacerange 2 beginbfchar <0001> <4F60> <0002> <597D> endbfchar 1 beginbfrange <0003> <0004> <4E16> endbfrange endcmap end end';
    expect(await text(inFont(chineseFont('Identity-H', 'Identity', table), '<000100020003>'))).toContain('你好世');
    expect(await text(inFont(chineseFont('UniGB-UCS2-H', 'GB1'), '<4F60597D>'))).toContain('你好');
    expect(await text(inFont(chineseFont('UniJIS-UTF16-H', 'Japan1'), '<65E5672C>'))).toContain('日本');
    // Numbers of glyphs are no characters.
    expect(await text(inFont(chineseFont('Identity-H', 'GB1'), '<22223333>'))).toContain(
      'text is missing: it is in the encoding Adobe-GB1-UCS2',
    );
    // An encoding whose table would be another megabyte.
    expect(await text(inFont(chineseFont('GBK-EUC-H', 'GB1'), '<C4E3BAC3>'))).toContain(
      'text is missing: it is in the encoding GBK-EUC-H, which is not known here',
    );
  });
});

describe('what went wrong elsewhere', () => {
  it('ligatures are letters again [verifies tools.files.pdf]', slow, async () => {
    const font = '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding << /Type /Encoding /Differences [1 /fi /fl /ff /ffi] >> >>';
    const pdf = pdfOf(pdfWithPages([shownText('e\\004cient \\001nal \\002ow o\\003')], font));
    expect(await text(pdf)).toContain('efficient final flow off');
  });

  it('characters that a font does not know are seen, not left out [verifies tools.files.pdf]', slow, async () => {
    const table = 'begincmap 1 begincodespacerange <0000> <ffff> endcodespacerange 1 beginbfchar <0001> <0000> endbfchar endcmap';
    const answer = await text(inFont(chineseFont('Identity-H', 'Identity', table), '<00010001>'));
    expect(answer).toContain('\ufffd\ufffd\n[the fonts do not say what 2 characters mean');
  });

  it('half a character is none, so that every database takes the text [verifies tools.files.pdf]', slow, async () => {
    const answer = await text(inFont(chineseFont('UniGB-UCS2-H', 'GB1'), '<D8350041>', '<D835DC00>'));
    expect(answer).toContain('\ufffdA\n\u{1d400}\n');
    expect(answer.isWellFormed()).toBe(true);
  });

  it('what is filled into a form, and notes, are read with their page [verifies tools.files.pdf]', slow, async () => {
    const field = (name: string, more: string) => `<< /Type /Annot /Subtype /Widget /Rect [0 0 100 20] /T (${name}) ${more} >>`;
    const objects: PdfObjects = {
      ...pdfWithPages([shownText('Order'), shownText('Next')]),
      1: '<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [9 0 R 10 0 R 11 0 R] >> >>',
      9: field('customer', '/FT /Tx /V (Ada \\(Ltd\\))'),
      10: field('express', '/FT /Btn /V /Off /AS /Off'),
      11: field('empty', '/FT /Tx'),
      12: '<< /Type /Annot /Subtype /Text /Rect [0 0 9 9] /Contents (please check) >>',
    };
    const annotated = String(objects[20]).replace('/Parent', '/Annots [9 0 R 10 0 R 11 0 R 12 0 R] /Parent');
    expect(await text(pdfOf({ ...objects, 20: annotated }))).toBe(
      '[page 1 of 2]\nOrder\n[note: please check]\n[field customer: Ada (Ltd)]\n[page 2 of 2]\nNext',
    );
  });

  it('one wrong byte ends no reader: whichever it is, there is an answer [verifies tools.files.pdf-hostile]', slow, async () => {
    const whole = pdfOf(pdfWithPages([shownText('some text'), shownText('more text')], ...chineseFont('UniGB-UCS2-H', 'GB1')));
    for (let trial = 0; trial < 16; trial++) {
      const broken = Buffer.from(whole);
      broken.writeUInt8((trial * 89 + 7) % 256, Math.floor(((trial + 0.5) / 16) * whole.length));
      expect(await text(broken), `byte ${trial}`).toMatch(/^\[page|^tool_input_invalid: |^limit_exceeded: |without text/);
    }
  });

  it('words and cells of one line have a space between them [verifies tools.files.pdf]', slow, async () => {
    const page = 'BT /F1 12 Tf 1 0 0 1 72 700 Tm (Item) Tj 1 0 0 1 200 700 Tm (Price) Tj 1 0 0 1 72 680 Tm [(Bo) 20 (lt) -400 (x)] TJ ET';
    expect(await text(pdfOf(pdfWithPages([page])))).toBe('[page 1 of 1]\nItem Price\nBolt x');
  });

  it('a file whose table of contents is wrong is read all the same [verifies tools.files.pdf]', slow, async () => {
    const pdf = pdfOf(pdfWithPages([shownText('found')])).toString('latin1');
    expect(await text(Buffer.from(pdf.replace(/startxref\n\d+/, 'startxref\n7'), 'latin1'))).toContain('found');
    expect(await text(Buffer.from(pdf.slice(0, pdf.indexOf('xref')), 'latin1'))).toMatch(
      /found|cannot be read as a PDF document: it is broken/,
    );
  });

  it('one broken page does not take the others with it [verifies tools.files.pdf]', slow, async () => {
    const objects = {
      ...pdfWithPages([shownText('one'), shownText('two'), shownText('three')]),
      23: pdfStream('no stream of this kind', '/Filter /FlateDecode'),
    };
    expect(await text(pdfOf(objects))).toMatch(/^\[page 1 of 3\]\none\n[\s\S]*\[page 3 of 3\]\nthree/);
  });

  it('what is printed by a browser is read [verifies tools.files.pdf]', slow, async (context) => {
    const chromium = ['/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => existsSync(path));
    if (chromium === undefined) return context.skip('not run: there is no browser');
    const page =
      '<meta charset=utf-8><h1>Report</h1><p>An efficient office.<table><tr><td>Bolt<td>1.20</table><p style="break-before:page">Seite zwei: Größe';
    await writeFile(join(workspace, 'page.html'), page);
    const output = join(workspace, 'printed.pdf');
    const flags = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--no-pdf-header-footer',
      `--user-data-dir=${join(workspace, 'profile')}`,
    ];
    await promisify(execFile)(chromium, [...flags, `--print-to-pdf=${output}`, join(workspace, 'page.html')], { timeout: 60_000 });
    expect((await readFile(output)).length).toBeGreaterThan(1_000);
    expect(await read('printed.pdf')).toBe('[page 1 of 2]\nReport\nAn efficient office.\nBolt 1.20\n[page 2 of 2]\nSeite zwei: Größe');
  });
});

const encryption = (about: string) => pdfOf({ ...pdfWithPages([shownText('x')]), 9: about }, '/Encrypt 9 0 R /ID [<00> <00>]');
const form = (number: number, content: string) =>
  pdfStream(content, `/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << /X ${number} 0 R >> >>`);
/** Each draws the next one ten times, and only the last has text. */
const formsOfForms = () =>
  pdfOf(
    withForm({
      ...Object.fromEntries(Array.from({ length: 25 }, (_, at) => [30 + at, form(31 + at, '/X Do '.repeat(10))])),
      55: pdfStream(shownText('deep'), '/Type /XObject /Subtype /Form /BBox [0 0 1 1]'),
    }),
  );
const withForm = (more: PdfObjects) => ({
  ...pdfWithPages(['/X Do']),
  20: '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 40000] /Contents 21 0 R /Resources << /XObject << /X 30 0 R >> >> >>',
  ...more,
});

it.each<[string, () => Uint8Array, RegExp]>([
  [
    'that wants a password',
    () => encryption(`<< /Filter /Standard /V 1 /R 2 /O <${'41'.repeat(32)}> /U <${'42'.repeat(32)}> /P -44 >>`),
    /^tool_input_invalid: .*it is encrypted, and opens only with a password$/,
  ],
  [
    'of an unknown encryption',
    () => encryption('<< /Filter /Other /V 99 >>'),
    /^tool_input_invalid: .*it is encrypted in a way that is not known here$/,
  ],
  ['that is cut off', () => pdfOf(pdfWithPages([shownText('x')])).subarray(0, 60), /^tool_input_invalid: .*it is broken/],
  [
    'of nothing but noise',
    () => Buffer.from(`%PDF-1.7\n${Array.from({ length: 50_000 }, (_, at) => String.fromCharCode((at * 7_919) % 251)).join('')}`, 'latin1'),
    /^tool_input_invalid: .*it is broken/,
  ],
  [
    'whose pages are their own parents',
    () => pdfOf({ ...pdfWithPages([]), 2: '<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 5 >>' }),
    /^tool_input_invalid: .*it is broken|this page cannot be read/,
  ],
  ['whose length is itself', () => pdfOf({ ...pdfWithPages(['']), 21: '<< /Length 21 0 R >>\nstream\nBT ET\nendstream' }), /without text/],
  [
    'that says it has two thousand million pages',
    () => pdfOf({ ...pdfWithPages([shownText('only')]), 2: '<< /Type /Pages /Kids [20 0 R] /Count 2000000000 >>' }),
    /only/,
  ],
  ['with a form within itself', () => pdfOf(withForm({ 30: form(30, '/X Do /X Do') })), /without text/],
  ['with forms of forms of forms', formsOfForms, /^limit_exceeded: .*fuel.*; read fewer pages at a time with `pages`$|^limit_exceeded/],
  [
    'that unpacks to a hundred megabytes',
    () =>
      pdfOf(
        pdfWithPages([pdfStream(zlibSync(zlibSync(Buffer.alloc(100_000_000, 'q '), { level: 9 })), '/Filter [/FlateDecode /FlateDecode]')]),
      ),
    /^limit_exceeded|cannot be read/,
  ],
  [
    'with a text in two hundred thousand brackets',
    () => pdfOf(pdfWithPages([`BT /F1 12 Tf ${'['.repeat(200_000)} TJ ET`])),
    /without text|^limit_exceeded|cannot be read/,
  ],
  [
    'with objects in objects without end',
    () => pdfOf({ ...pdfWithPages([shownText('x')]), 1: `<< /Pages 2 0 R /X ${'['.repeat(200_000)} >>` }),
    /^limit_exceeded|it is broken|\nx/,
  ],
  [
    'whose table of characters has no end',
    () =>
      inFont(
        chineseFont('Identity-H', 'Identity', `begincmap ${'1 beginbfrange <0000> <ffffffff> <0000> endbfrange '.repeat(1_000)}`),
        '<0001>',
      ),
    /^\[page|^limit_exceeded/,
  ],
  [
    'with a script',
    () =>
      pdfOf({
        ...pdfWithPages([shownText('quiet')]),
        1: '<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /JavaScript /JS (while\\(true\\);) >> >>',
      }),
    /^\[page 1 of 1\]\nquiet$/,
  ],
])('a PDF %s ends in time, and holds nobody up [verifies tools.files.pdf-hostile]', slow, async (_, make, expected) => {
  const content = make();
  let longest = 0;
  let last = performance.now();
  const cancel = systemTimers.every(5, () => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  });
  const answer = await text(content).finally(cancel);
  expect(answer).toMatch(expected);
  expect(longest).toBeLessThan(3_000);
  expect(await text(pdfOf(pdfWithPages([shownText('next')])))).toContain('next');
});

it('takes no file that is larger than it says, and is cancelled at once [verifies tools.files.pdf-hostile]', slow, async () => {
  const large = Buffer.concat([pdfOf(pdfWithPages([shownText('x')])), Buffer.alloc(6 * 1024 * 1024)]);
  expect(await text(large)).toMatch(
    /^payload_too_large: "a.pdf" has \d+ bytes, and this tool takes files of at most 6291456; split it, or read it by a program with shell$/,
  );
  await writeFile(join(workspace, 'slow.pdf'), formsOfForms());
  const patient = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, limits: { wallMs: 60_000, fuel: 10_000_000 } });
  const workspaces = createWorkspaces();
  const service = createTestToolService([createFileTextTool({ workspaces, sandbox: patient })], { workspace, workspaces });
  const cancelling = new AbortController();
  const startedAt = performance.now();
  systemTimers.after(1_000, () => cancelling.abort());
  const end = await readCall(service, makeToolCall({ toolName: 'file_text', input: { path: 'slow.pdf' }, timeoutMs: 90_000 }), {
    signal: cancelling.signal,
  });
  expect(said(end)).toMatch(/^cancelled/);
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  await patient.close();
});

it('reads a whole document of some megabytes within the usual limits [verifies tools.files.pdf]', slow, async () => {
  const bytes = Buffer.from(Array.from({ length: 5_500_000 }, (_, at) => (at * 7_919) % 256));
  const pdf = pdfOf({ ...pdfWithPages([shownText('with a picture')]), 9: packedStream('x'), 10: pdfStream(bytes, '/Type /XObject') });
  expect(await text(pdf)).toBe('[page 1 of 1]\nwith a picture');
});
