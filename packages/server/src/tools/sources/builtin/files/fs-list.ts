import type { Tool } from '#tools/contract';
import type { Workspaces } from '#tools/workspace';
import { globMatcher } from './glob.ts';
import { fileTool, folderProperty, ok, patternProperty } from './shared.ts';

const maxListed = 1_000;
const maxDepth = 32;

interface ListInput {
  readonly path?: string;
  readonly recursive?: boolean;
  readonly depth?: number;
  readonly pattern?: string;
  readonly offset?: number;
  readonly limit?: number;
}

export function createListTool(workspaces: Workspaces): Tool {
  return {
    ...fileTool,
    name: 'fs_list',
    description:
      'Lists files and folders of the workspace: one per line, folders end in "/", files are followed by a tab and their size in bytes. ' +
      'A pattern with ** or a "/" also looks into folders. Links are shown but cannot be used.',
    inputSchema: {
      type: 'object',
      properties: {
        path: folderProperty,
        recursive: { type: 'boolean', description: 'Also what is inside folders; false when left out' },
        depth: { type: 'integer', minimum: 1, maximum: maxDepth, description: 'How many folders deep; 1 is the folder alone' },
        pattern: { ...patternProperty, description: 'Only what fits: *.csv by name, src/**/*.{ts,js} by path' },
        offset: { type: 'integer', minimum: 1, description: 'First line to give, counted from 1' },
        limit: { type: 'integer', minimum: 1, maximum: maxListed, description: `Most lines; ${maxListed} when left out` },
      },
      additionalProperties: false,
    },
    effects: 'none',
    permissions: ['fs.read'],
    async execute(input, context) {
      const { path = '', recursive, depth, pattern, offset = 1, limit = maxListed } = input as ListInput; // checked by the schema
      const fits = pattern === undefined ? () => true : globMatcher(pattern);
      // A pattern may speak of paths in the folder that is listed, too.
      const below = path === '' || path === '.' ? 0 : path.replace(/\/$/, '').length + 1;
      const goesDeep = recursive ?? (depth !== undefined || pattern?.includes('/') === true || pattern?.includes('**') === true);
      const walk = { recursive: goesDeep, signal: context.signal, ...(depth === undefined ? {} : { depth }) };
      const lines: string[] = [];
      let fitting = 0;
      let end: string | null = null;
      for await (const item of workspaces.walk(context.workspace, path, walk)) {
        if (item.type === 'incomplete') {
          end = 'not everything was visited; list a folder below';
          break;
        }
        if (!fits(item.path) && !fits(item.path.slice(below))) continue;
        fitting += 1;
        if (fitting < offset) continue;
        if (lines.length >= limit) {
          end = `${lines.length} shown, there are more; go on with offset ${offset + lines.length}, or give a pattern`;
          break;
        }
        if (item.type === 'folder') lines.push(`${item.path}/`);
        else lines.push(item.type === 'file' ? `${item.path}\t${item.sizeBytes}` : `${item.path}\t(not a regular file)`);
      }
      if (end !== null) lines.push(`[${end}]`);
      else if (fitting === 0) lines.push(pattern === undefined ? '[the folder is empty]' : `[nothing fits ${pattern}]`);
      else if (lines.length === 0) lines.push(`[there are only ${fitting}]`);
      return ok(lines.join('\n'));
    },
  };
}
