import { NexusError } from '#core';
import type { Tool, ToolContext } from '#tools/contract';
import { parseWorkspacePath, type Workspaces } from '#tools/workspace';
import { countOf, fileTool, ok } from './shared.ts';

export function createMoveTool(workspaces: Workspaces): Tool {
  return {
    ...fileTool,
    name: 'fs_move',
    description:
      'Moves or renames a file of the workspace, or a folder with all that is in it. `to` is the whole new path. Missing folders are made. ' +
      'Calls of the same step do not see it, later ones do.',
    inputSchema: {
      type: 'object',
      properties: {
        path: { type: 'string', description: 'File or folder to move, relative to the workspace' },
        to: { type: 'string', description: 'Its new path, relative to the workspace, such as archive/2026/sales.csv' },
        replace: { type: 'boolean', description: 'Whether files that are there are replaced; false when left out' },
      },
      required: ['path', 'to'],
      additionalProperties: false,
    },
    effects: 'idempotent',
    permissions: ['fs.read', 'fs.write'],
    async execute(input, context) {
      const { path, to, replace = false } = input as { path: string; to: string; replace?: boolean }; // checked by the schema
      const from = parseWorkspacePath(path).join('/');
      const target = parseWorkspacePath(to).join('/');
      if (`${target}/`.startsWith(`${from}/`) && target !== from)
        throw new NexusError('tool_input_invalid', `${JSON.stringify(to)} lies in what is moved; give a path outside it`);
      const { paths, isFolder } = await filesAt(workspaces, context, path);
      for (const each of paths) await context.files.move(each, target + each.slice(from.length), { replace, signal: context.signal });
      return ok(`moved ${isFolder ? `the folder ${path} with ${countOf(paths.length, 'file')}` : path} to ${to}`);
    },
  };
}

export function createDeleteTool(workspaces: Workspaces): Tool {
  return {
    ...fileTool,
    name: 'fs_delete',
    description:
      'Deletes a file of the workspace, or with recursive a folder with all that is in it. Calls of the same step do not see it, later ones do.',
    inputSchema: {
      type: 'object',
      properties: {
        path: { type: 'string', description: 'File or folder to delete, relative to the workspace' },
        recursive: { type: 'boolean', description: 'Needed to delete a folder; false when left out' },
      },
      required: ['path'],
      additionalProperties: false,
    },
    effects: 'idempotent',
    permissions: ['fs.write'],
    async execute(input, context) {
      const { path, recursive = false } = input as { path: string; recursive?: boolean }; // checked by the schema
      const { paths, isFolder } = await filesAt(workspaces, context, path);
      if (isFolder && !recursive)
        throw new NexusError(
          'tool_input_invalid',
          `${JSON.stringify(path)} is a folder with ${countOf(paths.length, 'file')}; to delete all of it say recursive: true`,
        );
      for (const each of paths) await context.files.remove(each, context.signal);
      return ok(`deleted ${isFolder ? `the folder ${path} with ${countOf(paths.length, 'file')}` : path}`);
    },
  };
}

/** The file at the path, or those in the folder that is there. Throws `not_found` when there is none. */
async function filesAt(
  workspaces: Workspaces,
  { workspace, signal }: Pick<ToolContext, 'workspace' | 'signal'>,
  path: string,
): Promise<{ readonly paths: readonly string[]; readonly isFolder: boolean }> {
  if (parseWorkspacePath(path).length === 0)
    throw new NexusError('tool_input_invalid', 'the path is the workspace itself; name a file or a folder in it');
  const found = await workspaces.look(workspace, path).catch((error: unknown) => {
    // A folder, or a way that leads through a file: the walk knows.
    if (error instanceof NexusError && error.code === 'tool_input_invalid') return 'no file';
    throw error;
  });
  if (found !== 'no file') return { paths: [path], isFolder: false };
  const paths: string[] = [];
  for await (const item of workspaces.walk(workspace, path, { recursive: true, signal })) {
    if (item.type === 'incomplete')
      throw new NexusError('payload_too_large', `${JSON.stringify(path)} holds more than one call can take; name a folder in it`);
    if (item.type === 'file') paths.push(item.path);
  }
  return { paths, isFolder: true };
}
