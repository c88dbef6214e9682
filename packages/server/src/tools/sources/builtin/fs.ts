import type { Tool } from '#tools/contract';
import type { Sandbox } from '#tools/sandbox';
import { createDiffTool } from './files/fs-diff.ts';
import { createEditTool } from './files/fs-edit.ts';
import { createListTool } from './files/fs-list.ts';
import { createDeleteTool, createMoveTool } from './files/fs-move.ts';
import { createReadTool } from './files/fs-read.ts';
import { createSearchTool, type SearchOptions } from './files/fs-search.ts';
import { createWriteTool } from './files/fs-write.ts';

export interface FsToolsOptions extends SearchOptions {
  /** For what compares texts. */
  readonly sandbox: Sandbox;
}

/** The tools `fs_*`, on the workspace of the session that the call belongs to. */
export function createFsTools(options: FsToolsOptions): readonly Tool[] {
  const { workspaces } = options;
  return [
    createListTool(workspaces),
    createReadTool(workspaces),
    createSearchTool(options),
    createDiffTool(options),
    createWriteTool(workspaces),
    createEditTool(options),
    createMoveTool(workspaces),
    createDeleteTool(workspaces),
  ];
}
