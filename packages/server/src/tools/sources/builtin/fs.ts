import { cutText, matchesWildcard, NexusError } from '#core';
import { readingFiles, type Tool, type ToolResult } from '#tools/contract';
import { parseWorkspacePath, type Workspaces } from '#tools/workspace';
import { literalSearch } from './literal-search.ts';
import { readLines } from './text-lines.ts';

const limits = {
  maxListed: 1_000,
  maxReadLines: 2_000,
  maxReadChars: 40_000,
  maxLineChars: 4_000,
  maxMatches: 200,
  maxSearchedBytes: 64 * 1024 * 1024,
};

const maxShownMatchChars = 300;
const pathProperty = { type: 'string', description: 'Path relative to the workspace, such as data/sales.csv' };
const folderProperty = { type: 'string', description: 'Folder relative to the workspace; the whole workspace when left out' };

/** `fs_list`, `fs_read`, `fs_write` and `fs_search` on the workspace of the session that the call belongs to. */
export function createFsTools({ workspaces }: { readonly workspaces: Workspaces }): readonly Tool[] {
  return [listTool(workspaces), readTool(workspaces), writeTool(), searchTool(workspaces)];
}

function listTool(workspaces: Workspaces): Tool {
  return {
    name: 'fs_list',
    description:
      'Lists files and folders of the workspace: one per line, folders end in "/", files are followed by a tab and their size in bytes. ' +
      'Links are shown but cannot be used.',
    inputSchema: {
      type: 'object',
      properties: {
        path: folderProperty,
        recursive: { type: 'boolean', description: 'Also what is inside folders; false when left out' },
        pattern: { type: 'string', maxLength: 200, description: 'Only names that fit, with * and ?, such as *.csv' },
      },
      additionalProperties: false,
    },
    effects: 'none',
    source: 'built-in',
    tier: 'host',
    permissions: ['fs.read'],
    sharesFolder: true,
    timeoutMs: 30_000,
    async execute(input, context) {
      const { path = '', recursive = false, pattern } = input as { path?: string; recursive?: boolean; pattern?: string }; // checked by the schema
      const lines: string[] = [];
      let complete = true;
      for await (const item of workspaces.walk(context.workspace, path, { recursive, signal: context.signal })) {
        if (item.type === 'incomplete' || lines.length >= limits.maxListed) {
          complete = false;
          break;
        }
        if (pattern !== undefined && !fitsPattern(pattern, item.path)) continue;
        if (item.type === 'folder') lines.push(`${item.path}/`);
        else lines.push(item.type === 'file' ? `${item.path}\t${item.sizeBytes}` : `${item.path}\t(not a regular file)`);
      }
      if (lines.length === 0 && complete) lines.push(pattern === undefined ? '[the folder is empty]' : `[nothing fits ${pattern}]`);
      if (!complete) lines.push(`[${lines.length} shown, there are more; list a folder below or give a pattern]`);
      return ok(lines.join('\n'));
    },
  };
}

function readTool(workspaces: Workspaces): Tool {
  return {
    name: 'fs_read',
    description:
      `Reads a text file of the workspace, at most ${limits.maxReadLines} lines at once. ` +
      'To compute over a large file, pass it to code_js instead of reading it.',
    inputSchema: {
      type: 'object',
      properties: {
        path: pathProperty,
        offset: { type: 'integer', minimum: 1, description: 'First line to read, counted from 1; 1 when left out' },
        limit: { type: 'integer', minimum: 1, maximum: limits.maxReadLines, description: 'Number of lines to read' },
      },
      required: ['path'],
      additionalProperties: false,
    },
    effects: 'none',
    source: 'built-in',
    tier: 'host',
    permissions: ['fs.read'],
    sharesFolder: true,
    timeoutMs: 30_000,
    async execute(input, context) {
      const { path, offset = 1, limit = limits.maxReadLines } = input as { path: string; offset?: number; limit?: number }; // checked by the schema
      parseWorkspacePath(path);
      await readingFiles(context).require(path);
      return workspaces.withFile(context.workspace, path, async (file) => {
        const kept: string[] = [];
        let chars = 0;
        let line = 0;
        let cutLines = 0;
        let more = false;
        reading: for await (const chunk of readLines(file, { maxLineChars: limits.maxLineChars, signal: context.signal })) {
          if (chunk.type === 'binary') {
            throw new NexusError(
              'tool_input_invalid',
              `${JSON.stringify(path)} is no UTF-8 text (${file.sizeBytes} bytes); it cannot be read as text`,
            );
          }
          if (line + chunk.lines.length >= offset) cutLines += chunk.cutLines;
          for (const text of chunk.lines) {
            line += 1;
            if (line < offset) continue;
            more = kept.length >= limit || (kept.length > 0 && chars + text.length > limits.maxReadChars);
            if (more) break reading;
            kept.push(text);
            chars += text.length + 1;
          }
        }
        if (kept.length === 0) return ok(file.sizeBytes === 0 ? '[the file is empty]' : `[the file has only ${line} lines]`);
        const notes: string[] = [];
        if (more || offset > 1)
          notes.push(`lines ${offset} to ${offset + kept.length - 1}${more ? `; go on with offset ${offset + kept.length}` : ', the end'}`);
        if (cutLines > 0) notes.push(`lines longer than ${limits.maxLineChars} characters are cut`);
        return ok(kept.join('\n') + (notes.length === 0 ? '' : `\n[${notes.join('; ')}]`));
      });
    },
  };
}

function writeTool(): Tool {
  return {
    name: 'fs_write',
    description:
      'Writes a text file of the workspace, replacing what was there. Missing folders are made. ' +
      'Calls of the same step do not see it, later ones do.',
    inputSchema: {
      type: 'object',
      properties: { path: pathProperty, content: { type: 'string', description: 'The whole new content' } },
      required: ['path', 'content'],
      additionalProperties: false,
    },
    effects: 'idempotent',
    source: 'built-in',
    tier: 'host',
    permissions: ['fs.write'],
    sharesFolder: true,
    timeoutMs: 30_000,
    async execute(input, context) {
      const { path, content } = input as { path: string; content: string }; // checked by the schema
      const bytes = Buffer.from(content, 'utf8');
      await context.files.write(path, bytes, context.signal);
      return ok(`wrote ${bytes.byteLength} bytes to ${path}`);
    },
  };
}

function searchTool(workspaces: Workspaces): Tool {
  return {
    name: 'fs_search',
    description:
      'Finds lines that contain a text (literally, no regular expression) in the text files of the workspace. Gives path:line: text.',
    inputSchema: {
      type: 'object',
      properties: {
        query: { type: 'string', minLength: 1, maxLength: 1_000 },
        path: folderProperty,
        pattern: { type: 'string', maxLength: 200, description: 'Only in files whose name fits, with * and ?, such as *.md' },
        caseSensitive: { type: 'boolean', description: 'false when left out' },
        limit: { type: 'integer', minimum: 1, maximum: limits.maxMatches },
      },
      required: ['query'],
      additionalProperties: false,
    },
    effects: 'none',
    source: 'built-in',
    tier: 'host',
    permissions: ['fs.read'],
    sharesFolder: true,
    timeoutMs: 60_000,
    async execute(input, context) {
      // Checked by the schema.
      const {
        query,
        path = '',
        pattern,
        caseSensitive = false,
        limit = limits.maxMatches,
      } = input as {
        query: string;
        path?: string;
        pattern?: string;
        caseSensitive?: boolean;
        limit?: number;
      };
      const fold = (text: string) => (caseSensitive ? text : text.toLowerCase());
      const find = literalSearch(fold(query));
      const found: string[] = [];
      const skipped = { binary: 0, unreadable: 0, refused: 0 };
      const reading = readingFiles(context);
      let left = limits.maxSearchedBytes;
      let end: string | undefined;
      for await (const item of workspaces.walk(context.workspace, path, { recursive: true, signal: context.signal })) {
        if (item.type === 'incomplete') end = 'not all files were searched; search in a folder below';
        if (item.type !== 'file' || (pattern !== undefined && !fitsPattern(pattern, item.path))) continue;
        const refusal = await reading.refusal(item.path);
        if (refusal !== null) {
          // What could not be decided is no answer to the search.
          if (refusal.code !== 'policy_denied') throw new NexusError(refusal.code, refusal.message);
          skipped.refused += 1;
          continue;
        }
        left -= item.sizeBytes;
        if (left < 0) {
          end = `the first ${limits.maxSearchedBytes} bytes were searched; search in a folder below or give a pattern`;
          break;
        }
        try {
          const stop = await item.use(async (file) => {
            let line = 0;
            for await (const chunk of readLines(file, { maxLineChars: 64 * 1024, signal: context.signal })) {
              if (chunk.type === 'binary') {
                skipped.binary += 1;
                return false;
              }
              for (const text of chunk.lines) {
                line += 1;
                const at = find(fold(text));
                if (at < 0) continue;
                if (found.length >= limit) return true;
                found.push(`${item.path}:${line}: ${excerpt(text, at)}`);
              }
            }
            return false;
          });
          if (!stop) continue;
          end = `the first ${limit} matches are shown; search for something rarer`;
          break;
        } catch (error) {
          if (context.signal.aborted || !(error instanceof Error)) throw error;
          skipped.unreadable += 1;
        }
      }
      const notes = [
        ...(found.length === 0 ? [`no line contains ${JSON.stringify(query)}`] : []),
        ...(end === undefined ? [] : [end]),
        ...(skipped.binary === 0 ? [] : [`${skipped.binary} binary files skipped`]),
        ...(skipped.refused === 0 ? [] : [`${skipped.refused} files were not searched, for policy does not let you read them`]),
        ...(skipped.unreadable === 0 ? [] : [`${skipped.unreadable} files could not be read`]),
      ];
      return ok([...found, ...notes.map((note) => `[${note}]`)].join('\n'));
    },
  };
}

function ok(output: string): ToolResult {
  return { type: 'ok', output };
}

/** A pattern with a `/` speaks of the whole path, one without of the last name. */
function fitsPattern(pattern: string, path: string): boolean {
  return matchesWildcard(pattern, pattern.includes('/') ? path : path.slice(path.lastIndexOf('/') + 1));
}

/** The line, or the part around the match when it is long. */
function excerpt(line: string, at: number): string {
  if (line.length <= maxShownMatchChars) return line;
  const start = Math.max(0, at - 100);
  return `${start > 0 ? '…' : ''}${cutText(line.slice(start), maxShownMatchChars)}…`;
}
