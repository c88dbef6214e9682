import { NexusError } from '#core';
import { readingFiles, type Tool, type ToolContext } from '#tools/contract';
import type { OpenFile, Workspaces } from '#tools/workspace';
import { createPace, excerpt, type PaceOptions, shownLine } from '../search-pace.ts';
import { globMatcher } from './glob.ts';
import { type LineFinder, type LineHit, lineFinder } from './line-finder.ts';
import { countOf, fileTool, folderProperty, ok, patternProperty } from './shared.ts';
import { readLines } from './text-lines.ts';

const maxMatches = 200;
const maxSearchedBytes = 64 * 1024 * 1024;
const maxContext = 10;
const maxOutputChars = 40_000;

interface SearchInput {
  readonly query: string;
  readonly regex?: boolean;
  readonly word?: boolean;
  readonly path?: string;
  readonly pattern?: string;
  readonly caseSensitive?: boolean;
  readonly context?: number;
  readonly limit?: number;
}

export interface SearchOptions extends PaceOptions {
  readonly workspaces: Workspaces;
}

export function createSearchTool(options: SearchOptions): Tool {
  return {
    ...fileTool,
    name: 'fs_search',
    description:
      'Finds lines that contain a text, or fit a regular expression (RE2: no look-around, no back-references), in the text files of the ' +
      'workspace. Gives path:line: text, and with context the lines around as path-line- text.',
    inputSchema: {
      type: 'object',
      properties: {
        query: { type: 'string', minLength: 1, maxLength: 1_000 },
        regex: { type: 'boolean', description: 'Whether query is a regular expression; false when left out' },
        word: { type: 'boolean', description: 'Only whole words; false when left out' },
        path: folderProperty,
        pattern: patternProperty,
        caseSensitive: { type: 'boolean', description: 'false when left out' },
        context: { type: 'integer', minimum: 0, maximum: maxContext, description: 'Lines to show before and after; 0 when left out' },
        limit: { type: 'integer', minimum: 1, maximum: maxMatches, description: `Most matches; ${maxMatches} when left out` },
      },
      required: ['query'],
      additionalProperties: false,
    },
    effects: 'none',
    permissions: ['fs.read'],
    timeoutMs: 60_000,
    async execute(input, context) {
      return ok(await search(options, input as unknown as SearchInput, context)); // checked by the schema
    },
  };
}

async function search(options: SearchOptions, input: SearchInput, { workspace, signal, authorize }: ToolContext): Promise<string> {
  const { query, regex = false, word = false, path = '', pattern, caseSensitive = false, context = 0, limit = maxMatches } = input;
  const finder = await lineFinder({ query, regex, word, caseSensitive });
  const fits = pattern === undefined ? () => true : globMatcher(pattern);
  const matches = createMatches({ context, limit });
  const pace = createPace(options, finder);
  const skipped = { binary: 0, unreadable: 0, refused: 0 };
  const reading = readingFiles({ authorize });
  let left = maxSearchedBytes;
  let end: string | null = null;
  for await (const item of options.workspaces.walk(workspace, path, { recursive: true, signal })) {
    if (item.type === 'incomplete') end = 'not all files were searched; search in a folder below';
    if (item.type !== 'file' || !fits(item.path)) continue;
    const refusal = await reading.refusal(item.path);
    if (refusal !== null) {
      // What could not be decided is no answer to the search.
      if (refusal.code !== 'policy_denied') throw new NexusError(refusal.code, refusal.message);
      skipped.refused += 1;
      continue;
    }
    left -= item.sizeBytes;
    if (left < 0) {
      end = `the first ${maxSearchedBytes} bytes were searched; search in a folder below or give a pattern`;
      break;
    }
    try {
      const how = await item.use((file) => searchFile(file, item.path, { finder, matches, pace, signal }));
      if (how === 'binary') skipped.binary += 1;
      if (how === 'full') end = `the first ${countOf(matches.count, 'match').replace(/hs$/, 'hes')} are shown; search for something rarer`;
      if (how === 'slow')
        end = 'the search took too long and was not finished; search in a folder below, give a pattern, or a simpler expression';
      if (how === 'full' || how === 'slow') break;
    } catch (error) {
      if (signal.aborted || !(error instanceof Error)) throw error;
      skipped.unreadable += 1;
    }
  }
  const what = `${regex ? 'fits' : 'contains'} ${JSON.stringify(query)}`;
  const notes = [
    ...(matches.count === 0 ? [`no line ${what}`] : []),
    ...(end === null ? [] : [end]),
    ...(matches.cutLines === 0
      ? []
      : [`${countOf(matches.cutLines, 'line')} longer than ${finder.maxLineChars} characters were searched up to there`]),
    ...(skipped.binary === 0 ? [] : [`${skipped.binary} binary files skipped`]),
    ...(skipped.refused === 0 ? [] : [`${skipped.refused} files were not searched, for policy does not let you read them`]),
    ...(skipped.unreadable === 0 ? [] : [`${skipped.unreadable} files could not be read`]),
  ];
  return [...matches.lines, ...notes.map((note) => `[${note}]`)].join('\n');
}

interface FileSearch {
  readonly finder: LineFinder;
  readonly matches: ReturnType<typeof createMatches>;
  readonly pace: ReturnType<typeof createPace>;
  readonly signal: AbortSignal;
}

async function searchFile(
  file: OpenFile,
  path: string,
  { finder, matches, pace, signal }: FileSearch,
): Promise<'searched' | 'binary' | 'full' | 'slow'> {
  matches.begin(path);
  let line = 0;
  for await (const chunk of readLines(file, { maxLineChars: finder.maxLineChars, signal })) {
    if (chunk.type === 'binary') return 'binary';
    matches.cutLines += chunk.cutLines;
    for (const text of chunk.lines) {
      line += 1;
      if (pace.isDue(text.length) && (await pace.rest(signal))) return 'slow';
      const found = finder.find(text);
      if (!matches.add(line, text, found)) return 'full';
    }
    if (pace.isSpent()) return 'slow';
  }
  return 'searched';
}

/** What is found, with the lines around it: each line once, and `--` between what is apart. */
function createMatches({ context, limit }: { readonly context: number; readonly limit: number }) {
  const lines: string[] = [];
  let chars = 0;
  let count = 0;
  let path = '';
  /** The last lines that were not shown, for the context of a match. */
  let before: string[] = [];
  let after = 0;
  let lastShown = 0;
  const push = (text: string) => {
    lines.push(text);
    chars += text.length + 1;
  };
  return {
    lines,
    cutLines: 0,
    get count() {
      return count;
    },
    begin(of: string): void {
      path = of;
      before = [];
      after = 0;
      lastShown = 0;
    },
    /** False when the match has no room. */
    add(line: number, text: string, found: LineHit | null): boolean {
      if (found === null) {
        if (after > 0) {
          after -= 1;
          lastShown = line;
          push(`${path}-${line}- ${shownLine(text)}`);
        } else if (context > 0) {
          before.push(shownLine(text));
          if (before.length > context) before.shift();
        }
        return true;
      }
      if (count >= limit || chars > maxOutputChars) return false;
      count += 1;
      if (context > 0 && lines.length > 0 && (lastShown === 0 || line - before.length > lastShown + 1)) push('--');
      for (const [index, earlier] of before.entries()) push(`${path}-${line - before.length + index}- ${earlier}`);
      before = [];
      after = context;
      lastShown = line;
      push(`${path}:${line}: ${excerpt(text, found.at)}`);
      return true;
    },
  };
}
