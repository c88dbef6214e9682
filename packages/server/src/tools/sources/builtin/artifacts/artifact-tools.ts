import { NexusError, throwIfAborted } from '#core';
import { type ArtifactRow, type BlobStore, readBlob, type Store } from '#storage';
import { artifactReader, type Tool, type ToolContext } from '#tools/contract';
import { lineFinder } from '../files/line-finder.ts';
import { countOf, ok } from '../files/shared.ts';
import { createPace, excerpt, type PaceOptions } from '../search-pace.ts';
import { charactersOf, decodedText, linesOf } from './artifact-text.ts';

export interface ArtifactToolsOptions extends PaceOptions {
  readonly store: Pick<Store, 'getArtifact' | 'listArtifacts'>;
  readonly blobs: Pick<BlobStore, 'get'>;
  /** Of one result; what is given stays below it. */
  readonly maxOutputChars: number;
}

const artifactTool = {
  source: 'built-in',
  tier: 'host',
  effects: 'none',
  permissions: ['fs.read'],
  ofArtifacts: true,
  timeoutMs: 60_000,
} as const;

const maxListed = 50;
const maxMatches = 200;
const maxChars = 40_000;
/** For what is said beside the text. */
const noteChars = 300;

export function createArtifactListTool({ store }: ArtifactToolsOptions): Tool {
  return {
    ...artifactTool,
    name: 'artifact_list',
    description: `Lists results of tools of this session that were too long and are kept as artifacts, the newest first. ${artifactReader} reads them.`,
    inputSchema: {
      type: 'object',
      properties: {
        limit: { type: 'integer', minimum: 1, maximum: maxListed, description: `Most artifacts; ${maxListed} when left out` },
        cursor: { type: 'string', maxLength: 1_000, description: 'Where a list before this one said to go on' },
      },
      additionalProperties: false,
    },
    async execute(input, { tenantId, sessionId }) {
      const { limit = maxListed, cursor } = input as { readonly limit?: number; readonly cursor?: string }; // checked by the schema
      const page = await store.listArtifacts(
        tenantId as ArtifactRow['tenantId'],
        { sessionId },
        { limit, ...(cursor === undefined ? {} : { cursor }) },
      );
      if (page.items.length === 0) return ok('[no result of this session is kept as an artifact]');
      const lines = page.items.map(
        (row) =>
          `${row.artifactId} of ${row.tool}, ${new Date(row.createdAt).toISOString()}: ${countOf(row.lines, 'line')}, ${countOf(row.characters, 'character')}, ${row.mediaType}${row.whole ? '' : ', not whole'}`,
      );
      return ok([...lines, ...(page.nextCursor === null ? [] : [`[go on with cursor ${page.nextCursor}]`])].join('\n'));
    },
  };
}

interface ReadInput {
  readonly id: string;
  readonly lines?: { readonly from: number; readonly to?: number };
  readonly offset?: number;
  readonly limit?: number;
  readonly search?: string;
  readonly regex?: boolean;
}

export function createArtifactReadTool(options: ArtifactToolsOptions): Tool {
  const room = Math.min(maxChars, options.maxOutputChars - noteChars);
  return {
    ...artifactTool,
    name: artifactReader,
    description:
      'Reads a part of a result that was too long and is kept as an artifact: lines, or characters from an offset, or with search the lines that ' +
      `contain a text, each as line (offset): text. Gives at most ${room} characters at once, and says how to go on.`,
    inputSchema: {
      type: 'object',
      properties: {
        id: { type: 'string', maxLength: 100, description: 'Of the artifact, such as art_01h455vb4pex5vsknk084sn02q' },
        lines: {
          type: 'object',
          description: 'Lines to read, counted from 1, both included; to the end, or as far as there is room, without to',
          properties: { from: { type: 'integer', minimum: 1 }, to: { type: 'integer', minimum: 1 } },
          required: ['from'],
          additionalProperties: false,
        },
        offset: { type: 'integer', minimum: 0, description: 'First character to read, counted from 0' },
        limit: { type: 'integer', minimum: 1, maximum: room, description: 'Number of characters to read' },
        search: { type: 'string', minLength: 1, maxLength: 1_000, description: 'Text to look for, in letters of any size' },
        regex: { type: 'boolean', description: 'Whether search is a regular expression (RE2); false when left out' },
      },
      required: ['id'],
      additionalProperties: false,
    },
    async execute(input, context) {
      const request = input as unknown as ReadInput; // checked by the schema
      const { id, lines, offset, limit, search } = request;
      const ways = [lines !== undefined, offset !== undefined || limit !== undefined, search !== undefined].filter(Boolean).length;
      if (ways > 1) throw new NexusError('tool_input_invalid', 'give one of lines, offset with limit, and search');
      if (lines?.to !== undefined && lines.to < lines.from)
        throw new NexusError('tool_input_invalid', `lines.to is ${lines.to}, which is before lines.from, ${lines.from}`);
      const row = await options.store.getArtifact(context.tenantId as ArtifactRow['tenantId'], id);
      // Those of another session are nothing that this one may know of.
      if (row === null || row.sessionId !== context.sessionId)
        throw new NexusError('not_found', `this session has no artifact ${JSON.stringify(id)}; artifact_list lists what it has`);
      const { tenantId, sha256, bytes } = row;
      const text = () => decodedText(readBlob(options.blobs, { tenantId, sha256, bytes }, context.signal));
      if (search !== undefined) return ok(await searchIn(options, text(), request, context, room));
      if (lines !== undefined) return ok(await rangeOfLines(text(), row, lines, room, context.signal));
      return ok(await readCharacters(text(), row, offset ?? 0, limit ?? room));
    },
  };
}

async function readCharacters(texts: AsyncGenerator<string>, row: ArtifactRow, offset: number, limit: number): Promise<string> {
  if (offset >= row.characters) return `[the artifact has only ${countOf(row.characters, 'character')}]`;
  const { from, text } = await charactersOf(texts, offset, limit);
  const next = from + text.length;
  const end = next < row.characters ? `; go on with offset ${next}` : ending(row);
  return `${text}\n[characters ${from} to ${next - 1} of ${row.characters}${end}]`;
}

/** A result that was not kept to its end does not look as if it were. */
function ending({ whole }: ArtifactRow): string {
  return whole ? ', the end' : ', the end of what is kept: the result was longer';
}

async function rangeOfLines(
  texts: AsyncGenerator<string>,
  row: ArtifactRow,
  { from, to = row.lines }: { readonly from: number; readonly to?: number },
  room: number,
  signal: AbortSignal,
): Promise<string> {
  if (from > row.lines) return `[the artifact has only ${countOf(row.lines, 'line')}]`;
  const kept: string[] = [];
  let chars = 0;
  for await (const parts of linesOf(texts, room)) {
    throwIfAborted(signal);
    for (const { line, offset, text, isLast } of parts) {
      if (line < from) continue;
      const last = line - 1;
      if (line > to) return `${kept.join('\n')}\n[lines ${from} to ${last} of ${row.lines}]`;
      const fits = chars + text.length <= room && isLast;
      if (!fits && kept.length > 0) return `${kept.join('\n')}\n[lines ${from} to ${last} of ${row.lines}; go on with line ${line}]`;
      if (!fits)
        return `${text}\n[the beginning of line ${line}, which is longer than ${room} characters; go on with offset ${offset + text.length}]`;
      kept.push(text);
      chars += text.length + 1;
    }
  }
  return `${kept.join('\n')}\n[lines ${from} to ${row.lines} of ${row.lines}${ending(row)}]`;
}

async function searchIn(
  options: ArtifactToolsOptions,
  texts: AsyncGenerator<string>,
  { search: query = '', regex = false }: ReadInput,
  { signal }: ToolContext,
  room: number,
): Promise<string> {
  const finder = await lineFinder({ query, regex, word: false, caseSensitive: false });
  const pace = createPace(options, finder);
  const found: string[] = [];
  let chars = 0;
  let end: string | null = null;
  search: for await (const parts of linesOf(texts, finder.maxLineChars)) {
    for (const { line, offset, text } of parts) {
      if (pace.isDue(text.length) && (await pace.rest(signal))) {
        end = `the search took too long and ended at line ${line}; search for something simpler`;
        break search;
      }
      const hit = finder.find(text);
      if (hit === null) continue;
      const shown = `${line} (${offset + hit.at}): ${excerpt(text, hit.at)}`;
      if (found.length >= maxMatches || chars + shown.length > room) {
        end = `there are more from line ${line} on; search for something rarer`;
        break search;
      }
      found.push(shown);
      chars += shown.length + 1;
    }
  }
  if (found.length === 0 && end === null) return `[no line ${regex ? 'fits' : 'contains'} ${JSON.stringify(query)}]`;
  return [...found, ...(end === null ? [] : [`[${end}]`])].join('\n');
}
