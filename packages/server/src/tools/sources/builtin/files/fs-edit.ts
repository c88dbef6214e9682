import { createHash } from 'node:crypto';
import { NexusError, type Timers } from '#core';
import { readingFiles, type Tool } from '#tools/contract';
import { parseWorkspacePath, type Workspaces } from '#tools/workspace';
import { applyPatch } from './patch.ts';
import { type Edit, replaceText } from './replace-text.ts';
import { countOf, decodeUtf8, fileTool, ok, pathProperty, readWhole } from './shared.ts';

/** Edits work on the whole text, in the thread of the server: such a one takes some tens of milliseconds. */
const maxEditedBytes = 2 * 1024 * 1024;
const maxEdits = 50;

export interface EditOptions {
  readonly workspaces: Workspaces;
  readonly timers: Pick<Timers, 'soon'>;
}

interface EditInput {
  readonly path: string;
  readonly edits?: readonly Edit[];
  readonly patch?: string;
}

export function createEditTool({ workspaces, timers }: EditOptions): Tool {
  return {
    ...fileTool,
    name: 'fs_edit',
    description:
      'Changes parts of a text file of the workspace: each edit replaces `old`, which must stand there exactly once (or everywhere with all), by `new`; ' +
      'or give a unified diff as `patch`. All of it is applied or nothing. Give all edits of a file in one call.',
    inputSchema: {
      type: 'object',
      properties: {
        path: pathProperty,
        edits: {
          type: 'array',
          minItems: 1,
          maxItems: maxEdits,
          items: {
            type: 'object',
            properties: {
              old: {
                type: 'string',
                minLength: 1,
                description: 'The text as it stands in the file, with enough of its lines to be unique',
              },
              new: { type: 'string', description: 'What stands there afterwards; empty to delete it' },
              all: { type: 'boolean', description: 'Replace every place; false when left out' },
            },
            required: ['old', 'new'],
            additionalProperties: false,
          },
        },
        patch: {
          type: 'string',
          minLength: 1,
          maxLength: 500_000,
          description: 'A unified diff of this file, with hunks as @@ -3,2 +3,4 @@',
        },
      },
      required: ['path'],
      additionalProperties: false,
    },
    effects: 'idempotent',
    permissions: ['fs.read', 'fs.write'],
    async execute(input, context) {
      const { path, edits, patch } = input as unknown as EditInput; // checked by the schema
      if ((edits === undefined) === (patch === undefined)) throw new NexusError('tool_input_invalid', 'give either edits or a patch');
      parseWorkspacePath(path);
      await readingFiles(context).require(path);
      const bytes = await readWhole(workspaces, context.workspace, path, maxEditedBytes);
      const before = decodeUtf8(bytes, path);
      let text = before;
      const lines: number[] = [];
      for (const [index, edit] of (edits ?? []).entries()) {
        const edited = replaceText(text, edit, edits?.length === 1 ? 'old' : `edits[${index}].old`);
        text = edited.text;
        lines.push(...edited.lines);
        await timers.soon();
        context.signal.throwIfAborted();
      }
      if (patch !== undefined) {
        const patched = await applyPatch(text, patch, { timers, signal: context.signal });
        text = patched.text;
        lines.push(...patched.lines);
      }
      if (text === before) return ok(`${path} is as it was: the change says what stands there already`);
      const after = Buffer.from(text, 'utf8');
      const replaces = createHash('sha256').update(bytes).digest('hex');
      await context.files.write(path, after, context.signal, { replaces });
      const shown = lines.slice(0, 20).join(', ');
      return ok(
        `changed ${path} in ${countOf(lines.length, 'place')}, at line ${shown}${lines.length > 20 ? ', …' : ''}; it has ${after.byteLength} bytes now`,
      );
    },
  };
}
