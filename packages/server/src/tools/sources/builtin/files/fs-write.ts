import { createHash } from 'node:crypto';
import { NexusError } from '#core';
import type { Tool } from '#tools/contract';
import type { Workspaces } from '#tools/workspace';
import { fileTool, ok, pathProperty, readWhole } from './shared.ts';

/** What is appended to is read and written as a whole. */
const maxAppendedBytes = 16 * 1024 * 1024;

interface WriteInput {
  readonly path: string;
  readonly content: string;
  readonly encoding?: 'utf8' | 'base64';
  readonly mode?: 'replace' | 'create' | 'append';
}

export function createWriteTool(workspaces: Workspaces): Tool {
  return {
    ...fileTool,
    name: 'fs_write',
    description:
      'Writes a file of the workspace, replacing what was there. Missing folders are made. To change a part of a file use fs_edit. ' +
      'Calls of the same step do not see it, later ones do.',
    inputSchema: {
      type: 'object',
      properties: {
        path: pathProperty,
        content: { type: 'string', description: 'The whole new content, or what is appended' },
        encoding: { enum: ['utf8', 'base64'], description: 'base64 for files that are no text; utf8 when left out' },
        mode: {
          enum: ['replace', 'create', 'append'],
          description: 'create fails where there is such a file already; append adds to its end; replace when left out',
        },
      },
      required: ['path', 'content'],
      additionalProperties: false,
    },
    effects: 'idempotent',
    permissions: ['fs.write'],
    async execute(input, context) {
      const { path, content, encoding = 'utf8', mode = 'replace' } = input as unknown as WriteInput; // checked by the schema
      const bytes = encoding === 'base64' ? decodeBase64(content) : Buffer.from(content, 'utf8');
      if (mode === 'replace') await context.files.write(path, bytes, context.signal);
      else if (mode === 'create') await context.files.write(path, bytes, context.signal, { replaces: null });
      else {
        const there = (await workspaces.look(context.workspace, path)) !== null;
        const before = there ? await readWhole(workspaces, context.workspace, path, maxAppendedBytes) : null;
        const replaces = before === null ? null : createHash('sha256').update(before).digest('hex');
        const whole = before === null ? bytes : Buffer.concat([before, bytes]);
        await context.files.write(path, whole, context.signal, { replaces });
        return ok(`added ${bytes.byteLength} bytes to ${path}, which has ${whole.byteLength} now`);
      }
      return ok(`wrote ${bytes.byteLength} bytes to ${path}`);
    },
  };
}

function decodeBase64(text: string): Buffer {
  const plain = text.replaceAll(/[\r\n\t ]/g, '');
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(plain))
    throw new NexusError('tool_input_invalid', 'the content is no base64; give plain base64, or leave encoding out');
  return Buffer.from(plain, 'base64');
}
