import { cutText, NexusError } from '#core';
import { readingFiles, type Tool, type ToolContext, type ToolResult } from '#tools/contract';
import type { ProgramResult, Sandbox } from '#tools/sandbox';
import { parseWorkspacePath, type Workspaces } from '#tools/workspace';
import type { ProgramStates } from '../program-states.ts';

const maxFilesBytes = 4 * 1024 * 1024;
const maxLogsInError = 2_000;

interface CodeJsOptions {
  readonly sandbox: Sandbox;
  readonly workspaces: Workspaces;
  readonly states: ProgramStates;
}

/** `code_js`: computes with JavaScript or TypeScript that the model wrote, over files of the workspace when it names some. */
export function createCodeJsTool({ sandbox, workspaces, states }: CodeJsOptions): Tool {
  return {
    name: 'code_js',
    description:
      'Runs JavaScript, or TypeScript without checking its types (no enums, namespaces or parameter properties), and gives the value of its last expression (or of a top-level return) as JSON, and what console.log printed. ' +
      'The texts of the named workspace files are in `files` by path, as in files["data/sales.csv"]; the `input` argument is in `input`. ' +
      'Promises and await work. There are no modules, no timers, no network and no file system. ' +
      'The other tools that you are offered are async functions of `tools`: await tools.fs_read({ path: "a.txt" }) gives the result, parsed where ' +
      'it is JSON; a failure is thrown as an Error with a `code`. Use Promise.all for calls side by side.',
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
    callsTools: true,
    timeoutMs: Math.max(60_000, sandbox.longestMs),
    async execute(input, context) {
      const { code, files: paths = [], input: value } = input as { code: string; files?: string[]; input?: unknown }; // checked by the schema
      const { tenantId, sessionId, runId, signal, calling, resume } = context;
      const governed = { holder: { tenantId, sessionId, runId }, signal };
      if (resume !== undefined) {
        const state = await readState(states, context, resume.state);
        return concluded(await sandbox.advance({ code, resume: { state, results: resume.results }, ...governed }), context, states);
      }
      const reading = readingFiles(context);
      for (const path of new Set(paths)) {
        parseWorkspacePath(path);
        await reading.require(path);
      }
      const result = await sandbox.advance({
        code,
        files: () => readTexts(workspaces, context.workspace, paths),
        ...governed,
        ...(value === undefined ? {} : { input: value }),
        ...(calling === undefined ? {} : { tools: calling.offered }),
      });
      return concluded(result, context, states);
    },
  };
}

async function readState(states: ProgramStates, { tenantId, signal }: ToolContext, state: Parameters<ProgramStates['read']>[1]) {
  try {
    return await states.read(tenantId, state, signal);
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'not_found') throw error;
    const message = 'the code waited for its calls for longer than its state is kept, and cannot go on: what its calls did has been done';
    throw new NexusError('conflict', message, { cause: error });
  }
}

async function concluded(result: ProgramResult, context: ToolContext, states: ProgramStates): Promise<ToolResult> {
  const { tenantId, calling, signal } = context;
  const { logs, newLogs, fuelUsed } = result;
  context.onWait(result.waitedMs);
  if (newLogs !== '') context.onOutput(newLogs);
  if (result.type === 'ok') return { type: 'ok', output: { value: result.value ?? null, ...(logs === '' ? {} : { logs }) } };
  if (result.type === 'suspended') {
    const state = await states.keep(tenantId, result.state, calling?.waitMs ?? 0, signal);
    return { type: 'suspended', state, calls: result.calls, fuelUsed, printed: newLogs };
  }
  const { message } = result.error;
  const why = calling === undefined && message.includes('tools is not defined') ? `${message}; tools are there only within a run` : message;
  const printed = logs === '' ? '' : `\nprinted before: ${cutText(logs, maxLogsInError)}`;
  return { type: 'error', error: { ...result.error, message: `${why}${printed}` } };
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
