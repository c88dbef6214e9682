import { cutText, NexusError } from '#core';
import { readingFiles, type Tool } from '#tools/contract';
import type { Sandbox } from '#tools/sandbox';
import { parseWorkspacePath, type Workspaces } from '#tools/workspace';

const maxFilesBytes = 4 * 1024 * 1024;
const maxLogsInError = 2_000;

interface CodeJsOptions {
  readonly sandbox: Sandbox;
  readonly workspaces: Workspaces;
}

/** `code_js`: computes with JavaScript or TypeScript that the model wrote, over files of the workspace when it names some. */
export function createCodeJsTool({ sandbox, workspaces }: CodeJsOptions): Tool {
  return {
    name: 'code_js',
    description:
      'Runs JavaScript, or TypeScript without checking its types (no enums, namespaces or parameter properties), and gives the value of its last expression (or of a top-level return) as JSON, and what console.log printed. ' +
      'The texts of the named workspace files are in `files` by path, as in files["data/sales.csv"]; the `input` argument is in `input`. ' +
      'Promises and await work. There are no modules, no timers, no network and no file system.',
    inputSchema: {
      type: 'object',
      properties: {
        code: { type: 'string', minLength: 1, maxLength: 200_000 },
        files: { type: 'array', items: { type: 'string' }, maxItems: 50, description: 'Workspace files to pass as text' },
        input: { description: 'Any JSON value' },
      },
      required: ['code'],
      additionalProperties: false,
    },
    effects: 'none',
    source: 'built-in',
    tier: 'T0',
    permissions: ['code.run', 'fs.read'],
    sharesFolder: true,
    timeoutMs: Math.max(60_000, sandbox.longestMs),
    async execute(input, context) {
      const { code, files: paths = [], input: value } = input as { code: string; files?: string[]; input?: unknown }; // checked by the schema
      const reading = readingFiles(context);
      for (const path of new Set(paths)) {
        parseWorkspacePath(path);
        await reading.require(path);
      }
      const { tenantId, sessionId, runId, signal } = context;
      const result = await sandbox.run({
        code,
        files: () => readTexts(workspaces, context.workspace, paths),
        holder: { tenantId, sessionId, runId },
        signal,
        ...(value === undefined ? {} : { input: value }),
      });
      context.onWait(result.waitedMs);
      if (result.logs !== '') context.onOutput(result.logs);
      if (result.type === 'ok') {
        return { type: 'ok', output: { value: result.value ?? null, ...(result.logs === '' ? {} : { logs: result.logs }) } };
      }
      if (result.logs === '') return { type: 'error', error: result.error };
      const printed = cutText(result.logs, maxLogsInError);
      return { type: 'error', error: { ...result.error, message: `${result.error.message}\nprinted before: ${printed}` } };
    },
  };
}

async function readTexts(workspaces: Workspaces, root: string, paths: readonly string[]): Promise<Record<string, string>> {
  let left = maxFilesBytes;
  const texts: [string, string][] = [];
  for (const path of new Set(paths)) {
    await workspaces.withFile(root, path, async ({ handle, sizeBytes }) => {
      left -= sizeBytes;
      if (left < 0)
        throw new NexusError('payload_too_large', `the files may have ${maxFilesBytes} bytes together; pass fewer or smaller ones`);
      const bytes = Buffer.alloc(sizeBytes);
      const { bytesRead } = await handle.read(bytes, 0, sizeBytes, 0);
      texts.push([path, decode(bytes.subarray(0, bytesRead), path)]);
    });
  }
  return Object.fromEntries(texts);
}

function decode(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new NexusError('tool_input_invalid', `${JSON.stringify(path)} is no UTF-8 text`, { cause: error });
  }
}
