import type { UnzipFileInfo } from 'fflate';
import { z } from 'zod';
import { NexusError } from '#core';
import { readingFiles, type Tool, type ToolResult } from '#tools/contract';
import { parseWorkspacePath } from '#tools/workspace';
import { documentProgram } from './document-program.ts';
import { fileKind, kindBytes } from './file-kind.ts';
import { describePdf, PdfAnswer, pdfCode } from './pdf-text.ts';
import { fileTool, type InSandbox, libraryText, ok, pathProperty, readWhole } from './shared.ts';

/** As characters they go to the engine, which takes an eighth of its memory of them. */
const maxDocumentBytes = 6 * 1024 * 1024;
/** Of a part that is unpacked, and all that are needed at once. */
const maxPartBytes: UnzipFileInfo['originalSize'] = 16 * 1024 * 1024;
const byProgram = 'split it, or read it by a program with shell';
const maxLines = 2_000;
const maxShownChars = 40_000;
const maxPages = 100;
const usualPages = 20;

const Answer = z.union([
  z.object({ problem: z.string() }),
  z.object({ lines: z.array(z.string()), total: z.number(), sheets: z.array(z.string()) }),
]);

interface TextInput {
  readonly path: string;
  readonly sheet?: string;
  readonly page?: number;
  readonly pages?: number;
  readonly offset?: number;
  readonly limit?: number;
}

type DocumentKind = 'word' | 'excel' | 'pdf';

const kinds: ReadonlyMap<string, DocumentKind> = new Map([
  ['Word document', 'word'],
  ['Excel workbook', 'excel'],
  ['PDF document', 'pdf'],
]);

/** `file_text`: the text of documents that are no text files, read by a program in the sandbox. */
export function createFileTextTool({ workspaces, sandbox }: InSandbox): Tool {
  return {
    ...fileTool,
    name: 'file_text',
    description:
      'Gives the text of a PDF (.pdf: page by page), of a Word document (.docx: headings, lists and tables as Markdown) or of a sheet of an Excel ' +
      'workbook (.xlsx: rows as CSV) of the workspace, line by line, and says how to go on. Text files are read by fs_read.',
    inputSchema: {
      type: 'object',
      properties: {
        path: pathProperty,
        sheet: { type: 'string', maxLength: 200, description: 'Name of the sheet of a workbook; the first when left out' },
        page: { type: 'integer', minimum: 1, description: 'First page of a PDF, counted from 1; 1 when left out' },
        pages: { type: 'integer', minimum: 1, maximum: maxPages, description: `Most pages of a PDF; ${usualPages} when left out` },
        offset: {
          type: 'integer',
          minimum: 1,
          description: 'First line or row, counted from 1 (in a PDF from its first page); 1 when left out',
        },
        limit: { type: 'integer', minimum: 1, maximum: maxLines, description: 'Number of lines or rows' },
      },
      required: ['path'],
      additionalProperties: false,
    },
    effects: 'none',
    tier: 'T0',
    permissions: ['fs.read'],
    timeoutMs: Math.max(60_000, sandbox.longestMs),
    async execute(input, context) {
      const { path, sheet = null, page = 1, pages = usualPages, offset = 1, limit = maxLines } = input as unknown as TextInput; // checked by the schema
      parseWorkspacePath(path);
      await readingFiles(context).require(path);
      const { tenantId, sessionId, runId, signal, workspace } = context;
      const first = await workspaces.withFile(workspace, path, async ({ handle }) => {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(kindBytes), 0, kindBytes, 0);
        return buffer.subarray(0, bytesRead);
      });
      const found = fileKind(path, first);
      const kind = kinds.get(found);
      if (kind === undefined)
        throw new NexusError(
          'tool_input_invalid',
          `${JSON.stringify(path)} is no .pdf, .docx or .xlsx but a ${found}; fs_read reads text files`,
        );
      const shared = { offset, limit, maxChars: maxShownChars };
      const result = await sandbox.run({
        code: kind === 'pdf' ? pdfCode() : `${libraryText('fflate', 'umd/index.js')}\n${documentProgram}`,
        files: async () => ({ file: (await readWhole(workspaces, workspace, path, maxDocumentBytes, byProgram)).toString('latin1') }),
        input: kind === 'pdf' ? { ...shared, page, pages } : { ...shared, kind, sheet, maxPartBytes },
        holder: { tenantId, sessionId, runId },
        limits: { maxOutputChars: 3 * maxShownChars },
        signal,
      });
      context.onWait(result.waitedMs);
      const broken = (why: string) => new NexusError('tool_input_invalid', `${JSON.stringify(path)} cannot be read as a ${found}: ${why}`);
      if (result.type === 'error') {
        if (result.error.code === 'sandbox_code_error') throw broken('it is broken');
        const advice =
          kind === 'pdf' && result.error.code === 'limit_exceeded' && pages > 1 ? '; read fewer pages at a time with `pages`' : '';
        return { type: 'error', error: { ...result.error, message: `${result.error.message}${advice}` } };
      }
      const answer = kind === 'pdf' ? PdfAnswer.parse(result.value) : Answer.parse(result.value);
      if ('problem' in answer) throw broken(answer.problem);
      if ('pages' in answer) return describePdf(answer, { page, offset });
      return describe(answer, { offset, noun: kind === 'word' ? 'lines' : 'rows', sheet });
    },
  };
}

function describe(
  { lines, total, sheets }: { readonly lines: readonly string[]; readonly total: number; readonly sheets: readonly string[] },
  { offset, noun, sheet }: { readonly offset: number; readonly noun: string; readonly sheet: string | null },
): ToolResult {
  const last = offset + lines.length - 1;
  const notes = [
    ...(total === 0 ? ['there is no text in it'] : lines.length === 0 ? [`it has only ${total} ${noun}`] : []),
    ...(lines.length > 0 && (last < total || offset > 1)
      ? [`${noun} ${offset} to ${last} of ${total}${last < total ? `; go on with offset ${last + 1}` : ', the end'}`]
      : []),
    ...(sheets.length > 1 ? [`sheet ${JSON.stringify(sheet ?? sheets[0])} of ${JSON.stringify(sheets)}`] : []),
  ];
  return ok([...lines, ...notes.map((note) => `[${note}]`)].join('\n'));
}
