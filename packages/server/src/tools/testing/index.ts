/** For tests of tools: a service of given tools, calls of them, and a caller that reads to the end. */
import { createHash } from 'node:crypto';
import { NexusError, systemClock, systemTimers } from '#core';
import {
  type AuthorizationRequest,
  type AuthorizationVerdict,
  type CallFolders,
  createFixedSource,
  createToolService,
  createWorkspaces,
  type Tool,
  type ToolCall,
  type ToolCallEnd,
  type ToolPart,
  type ToolService,
  type Workspaces,
} from '#tools';

export function makeTool(definition: Partial<Tool> = {}): Tool {
  return {
    name: 'probe',
    description: 'for tests',
    inputSchema: { type: 'object' },
    effects: 'none',
    permissions: [],
    timeoutMs: 5_000,
    execute: async () => ({ type: 'ok', output: '' }),
    ...definition,
  };
}

export function makeToolCall(changes: Partial<ToolCall> = {}): ToolCall {
  return {
    tenantId: 'ten_1',
    sessionId: 'ses_1',
    runId: 'run_1',
    callId: 'call_1',
    attempt: 1,
    idempotencyKey: 'run_1/call_1',
    toolName: 'probe',
    input: {},
    timeoutMs: 10_000,
    ...changes,
  };
}

type ServiceOptions = Parameters<typeof createToolService>[0];

/** Folders that are there, in which what a call writes stands at once and stays. */
export function plainFolders(
  folderOf: (tenantId: string, sessionId: string) => Promise<string>,
  workspaces = createWorkspaces(),
): CallFolders {
  return {
    async open({ tenantId, sessionId }) {
      const path = await folderOf(tenantId, sessionId);
      return {
        path,
        files: {
          async write(file, content, signal, condition) {
            const created = (await workspaces.look(path, file)) === null;
            if (condition !== undefined && (await hashOf(workspaces, path, file)) !== condition.replaces)
              throw new NexusError('conflict', `something else stands at ${file}`);
            await workspaces.write(path, file, content, signal === undefined ? {} : { signal });
            return { created };
          },
          async remove(file) {
            if ((await workspaces.look(path, file)) === null) throw new NexusError('not_found', `there is no ${file}`);
            await workspaces.remove(path, file);
          },
          async move(from, to, { replace }) {
            const content = await bytesOf(workspaces, path, from);
            if (content === null) throw new NexusError('not_found', `there is no ${from}`);
            if ((await workspaces.look(path, to)) !== null && !replace) throw new NexusError('conflict', `there is a file at ${to}`);
            await workspaces.write(path, to, content);
            await workspaces.remove(path, from);
          },
        },
        keep: async () => ({ treeId: sessionId, version: 1, changes: [], note: '' }),
        discard: () => undefined,
        abandon: () => undefined,
      };
    },
  };
}

async function bytesOf(workspaces: Workspaces, folder: string, path: string): Promise<Buffer | null> {
  if ((await workspaces.look(folder, path)) === null) return null;
  return workspaces.withFile(folder, path, ({ handle }) => handle.readFile());
}

async function hashOf(workspaces: Workspaces, folder: string, path: string): Promise<string | null> {
  const bytes = await bytesOf(workspaces, folder, path);
  return bytes === null ? null : createHash('sha256').update(bytes).digest('hex');
}

/** These tools in this process, under the time of the system. */
export function createTestToolService(
  tools: readonly Tool[],
  options: Partial<ServiceOptions> & { readonly workspace?: string; readonly workspaces?: Workspaces } = {},
): ToolService {
  const { workspace = '/nonexistent', workspaces, ...rest } = options;
  return createToolService({
    sources: [createFixedSource(tools)],
    clock: systemClock,
    timers: systemTimers,
    folders: plainFolders(async () => workspace, workspaces),
    ...rest,
  });
}

export interface Reader {
  readonly signal?: AbortSignal;
  readonly onPart?: (part: ToolPart) => void;
  /** What it answers to a tool that wants to touch something; everything is allowed when left out. */
  readonly authorize?: (request: AuthorizationRequest) => Promise<AuthorizationVerdict>;
}

/** Reads a call to its end, answering what its tool asks. */
export async function readCall(service: ToolService, call: ToolCall, reader: Reader = {}): Promise<ToolCallEnd> {
  const { signal = new AbortController().signal, onPart, authorize = async () => ({ allowed: true }) } = reader;
  let end: ToolCallEnd | undefined;
  for await (const part of service.execute(call, { signal })) {
    if (end !== undefined) throw new Error(`a part came after the end: ${JSON.stringify(part)}`);
    onPart?.(part);
    if (part.type === 'completed' || part.type === 'failed' || part.type === 'suspended') end = part;
    if (part.type !== 'authorization.wanted') continue;
    const { authorizationId, type: _type, ...request } = part;
    await service.authorize({ callId: call.callId, attempt: call.attempt, authorizationId, ...(await authorize(request)) });
  }
  if (end === undefined) throw new Error('the call had no end');
  return end;
}

/** The end of a call in one line. */
export function said(end: ToolCallEnd): string {
  if (end.type === 'suspended') return `waits for ${end.calls.map(({ name }) => name).join(', ')}`;
  return end.type === 'completed' ? end.output : `${end.error.code}: ${end.error.message}`;
}
