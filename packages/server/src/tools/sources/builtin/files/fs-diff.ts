import type { CreatePatchOptionsAbortable } from 'diff';
import { cutText, NexusError } from '#core';
import { readingFiles, type Tool } from '#tools/contract';
import { parseWorkspacePath } from '#tools/workspace';
import { decodeUtf8, fileTool, type InSandbox, libraryText, ok, pathProperty, readWhole } from './shared.ts';

const maxComparedBytes = 2 * 1024 * 1024;
/** Lines that go and lines that come: what differs in more is another text, and would take a time that grows with their square. */
const maxChangedLines = 1_000;
const maxShownChars = 40_000;

interface DiffInput {
  readonly path: string;
  readonly other?: string;
  readonly text?: string;
  readonly context?: number;
}

export function createDiffTool({ workspaces, sandbox }: InSandbox): Tool {
  return {
    ...fileTool,
    name: 'fs_diff',
    description:
      'Compares a text file of the workspace with another one, or with a given text, and gives the differences as a unified diff.',
    inputSchema: {
      type: 'object',
      properties: {
        path: { ...pathProperty, description: 'The file as it was, relative to the workspace' },
        other: { type: 'string', description: 'The file as it is now, relative to the workspace' },
        text: { type: 'string', maxLength: maxComparedBytes, description: 'A text instead of another file' },
        context: { type: 'integer', minimum: 0, maximum: 20, description: 'Lines around each difference; 3 when left out' },
      },
      required: ['path'],
      additionalProperties: false,
    },
    effects: 'none',
    tier: 'T0',
    permissions: ['fs.read'],
    timeoutMs: Math.max(60_000, sandbox.longestMs),
    async execute(input, context) {
      const { path, other, text, context: around = 3 } = input as unknown as DiffInput; // checked by the schema
      if ((other === undefined) === (text === undefined)) throw new NexusError('tool_input_invalid', 'give either other or text');
      const reading = readingFiles(context);
      const read = async (of: string) => decodeUtf8(await readWhole(workspaces, context.workspace, of, maxComparedBytes), of);
      for (const each of other === undefined ? [path] : [path, other]) {
        parseWorkspacePath(each);
        await reading.require(each);
      }
      const { tenantId, sessionId, runId, signal } = context;
      const result = await sandbox.run({
        code: `${libraryText('diff', 'dist/diff.min.js')}\n${program}`,
        files: async () => ({ old: await read(path), new: other === undefined ? (text ?? '') : await read(other) }),
        input: {
          names: [path, other ?? path],
          options: { context: around, maxEditLength: maxChangedLines } satisfies CreatePatchOptionsAbortable,
        },
        holder: { tenantId, sessionId, runId },
        limits: { maxOutputChars: 2 * maxShownChars },
        signal,
      });
      context.onWait(result.waitedMs);
      if (result.type === 'error') return { type: 'error', error: result.error };
      // The program gives a text, null where there is no difference, and false where there is too much of it.
      const { value } = result;
      if (value === false)
        throw new NexusError(
          'limit_exceeded',
          `the texts differ in more than ${maxChangedLines} lines; read them, or compare smaller files`,
          { details: { limit: 'output' } },
        );
      if (typeof value !== 'string') return ok('[no difference]');
      if (value.length <= maxShownChars) return ok(value);
      return ok(`${cutText(value, maxShownChars)}\n[cut: the diff has more than ${maxShownChars} characters; compare smaller files]`);
    },
  };
}

const program = `
const { names, options } = input;
if (files.old === files.new) return null;
const patch = Diff.createTwoFilesPatch(names[0], names[1], files.old, files.new, undefined, undefined, options);
if (patch === undefined) return false;
const text = patch.slice(patch.indexOf('--- '));
return text.length > ${maxShownChars} ? text.slice(0, ${maxShownChars + 1}) : text;
`;
