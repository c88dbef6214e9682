import { NexusError } from '#core';
import { readingFiles, type Tool } from '#tools/contract';
import { type OpenFile, parseWorkspacePath, type Workspaces } from '#tools/workspace';
import { fileKind, kindBytes } from './file-kind.ts';
import { fileTool, ok, pathProperty, readAt } from './shared.ts';
import { readLines } from './text-lines.ts';

const maxLines = 2_000;
const maxChars = 40_000;
const maxLineChars = 4_000;
/** Of a range of bytes: as base64 they come to 32,000 characters. */
const maxRangeBytes = 24_000;
/** A file that is longer is not counted to its end. */
const maxCountedBytes = 64 * 1024 * 1024;

interface ReadInput {
  readonly path: string;
  readonly offset?: number;
  readonly limit?: number;
  readonly byteOffset?: number;
  readonly byteLimit?: number;
  readonly as?: 'text' | 'base64';
}

export function createReadTool(workspaces: Workspaces): Tool {
  return {
    ...fileTool,
    name: 'fs_read',
    description:
      `Reads a text file of the workspace, at most ${maxLines} lines at once, and says how to go on. By byteOffset and byteLimit it gives a ` +
      'range of bytes instead, of any file with as: "base64". To compute over a large file, pass it to code_js instead of reading it.',
    inputSchema: {
      type: 'object',
      properties: {
        path: pathProperty,
        offset: { type: 'integer', minimum: 1, description: 'First line to read, counted from 1; 1 when left out' },
        limit: { type: 'integer', minimum: 1, maximum: maxLines, description: 'Number of lines to read' },
        byteOffset: { type: 'integer', minimum: 0, description: 'First byte to read, counted from 0' },
        byteLimit: { type: 'integer', minimum: 1, maximum: maxRangeBytes, description: 'Number of bytes to read' },
        as: { enum: ['text', 'base64'], description: 'base64 for files that are no text; text when left out' },
      },
      required: ['path'],
      additionalProperties: false,
    },
    effects: 'none',
    permissions: ['fs.read'],
    async execute(input, context) {
      const request = input as unknown as ReadInput; // checked by the schema
      const { path, offset, limit, byteOffset, byteLimit, as = 'text' } = request;
      parseWorkspacePath(path);
      const ofBytes = as === 'base64' || byteOffset !== undefined || byteLimit !== undefined;
      if (ofBytes && (offset !== undefined || limit !== undefined))
        throw new NexusError(
          'tool_input_invalid',
          'offset and limit count lines of a text; with base64, or for bytes, give byteOffset and byteLimit',
        );
      await readingFiles(context).require(path);
      return workspaces.withFile(context.workspace, path, async (file) =>
        ok(ofBytes ? await readBytes(file, request) : await readText(file, request, context.signal)),
      );
    },
  };
}

async function readText(file: OpenFile, { path, offset = 1, limit = maxLines }: ReadInput, signal: AbortSignal): Promise<string> {
  const kept: string[] = [];
  let chars = 0;
  let line = 0;
  let cutLines = 0;
  let more = false;
  for await (const chunk of readLines(file, { maxLineChars, signal })) {
    if (chunk.type === 'binary') {
      if (more) break;
      throw await notText(file, path);
    }
    if (more) {
      line += chunk.lines.length;
      if (file.sizeBytes > maxCountedBytes) break;
      continue;
    }
    if (line + chunk.lines.length >= offset) cutLines += chunk.cutLines;
    for (const text of chunk.lines) {
      line += 1;
      if (line < offset || more) continue;
      more = kept.length >= limit || (kept.length > 0 && chars + text.length > maxChars);
      if (more) continue;
      kept.push(text);
      chars += text.length + 1;
    }
  }
  if (kept.length === 0) return file.sizeBytes === 0 ? '[the file is empty]' : `[the file has only ${line} lines]`;
  const notes: string[] = [];
  const last = offset + kept.length - 1;
  const all = file.sizeBytes > maxCountedBytes ? `the file has ${file.sizeBytes} bytes` : `of ${line}`;
  if (more) notes.push(`lines ${offset} to ${last} ${all}; go on with offset ${last + 1}`);
  else if (offset > 1) notes.push(`lines ${offset} to ${last}, the end`);
  if (cutLines > 0) notes.push(`lines longer than ${maxLineChars} characters are cut; byteOffset reads what is left out`);
  return kept.join('\n') + (notes.length === 0 ? '' : `\n[${notes.join('; ')}]`);
}

async function readBytes(file: OpenFile, { path, byteOffset = 0, byteLimit = maxRangeBytes, as }: ReadInput): Promise<string> {
  const { sizeBytes } = file;
  if (sizeBytes === 0) return '[the file is empty]';
  if (byteOffset >= sizeBytes) return `[the file has only ${sizeBytes} bytes]`;
  const bytes = await readAt(file, byteOffset, Math.min(byteLimit, sizeBytes - byteOffset));
  const isWhole = bytes.length === sizeBytes;
  const note = (from: number, count: number) => {
    const next = from + count;
    return `bytes ${from} to ${next - 1} of ${sizeBytes}${next < sizeBytes ? `; go on with byteOffset ${next}` : ', the end'}`;
  };
  if (as === 'base64') {
    const kind = fileKind(path, byteOffset === 0 ? bytes : await readAt(file, 0, Math.min(kindBytes, sizeBytes)));
    return `${bytes.toString('base64')}\n[${kind}; ${note(byteOffset, bytes.length)}]`;
  }
  const { start, end } = wholeCharacters(bytes);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(start, end));
  } catch {
    throw await notText(file, path);
  }
  if (text.includes('\0')) throw await notText(file, path);
  return isWhole ? text : `${text}\n[${note(byteOffset + start, end - start)}]`;
}

/** The part of a range of a UTF-8 text that begins and ends with a whole character. */
function wholeCharacters(bytes: Uint8Array): { readonly start: number; readonly end: number } {
  const isRest = (at: number) => ((bytes[at] ?? 0) & 0xc0) === 0x80;
  let start = 0;
  while (start < Math.min(3, bytes.length) && isRest(start)) start += 1;
  let last = bytes.length - 1;
  while (last > start && bytes.length - last < 4 && isRest(last)) last -= 1;
  const lead = bytes[last] ?? 0;
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  return { start, end: last + length > bytes.length && last > start ? last : bytes.length };
}

async function notText(file: OpenFile, path: string): Promise<NexusError> {
  const kind = fileKind(path, await readAt(file, 0, Math.min(kindBytes, file.sizeBytes)));
  return new NexusError(
    'tool_input_invalid',
    `${JSON.stringify(path)} is no UTF-8 text (${file.sizeBytes} bytes) but a ${kind}; as: "base64" gives its bytes`,
  );
}
