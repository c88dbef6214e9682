import type { ChatRequest, ClientCall, ClientTool, ClientToolResult, Run, WireEvent } from '@nexus-agent/protocol';
import type { CreateOptions } from '../calls.ts';
import type { NexusClient } from '../client.ts';
import { NexusApiError } from '../errors.ts';
import { maxTimerMs } from '../transport.ts';
import type { DefinedTool } from './define-tool.ts';

export interface ClientToolsOptions {
  /** Ends the work here by throwing its reason; the run stays as it is, and {@link executeClientTools} takes it up again. */
  readonly signal?: AbortSignal;
  /** Is given each event of the run. */
  readonly onEvent?: (event: WireEvent) => void;
}

/**
 * Starts a run and executes these tools here, in this program, whenever the model calls them; resolves with the run as it ended.
 *
 * Throws a `TypeError` for a tool that has `maxCostMicroUsd`, which is for tools that are served (`effects` and
 * `permissions` are as well: policy knows a client tool as such), and whatever the start of the run or its stream throws. A tool that throws is told to the model as a failure,
 * and so is a result that does not fit the `output` schema of its tool, or is too long.
 */
export async function runWithTools(
  client: NexusClient,
  request: Omit<ChatRequest, 'clientTools'>,
  tools: readonly DefinedTool[],
  { idempotencyKey, ...options }: ClientToolsOptions & Pick<CreateOptions, 'idempotencyKey'> = {},
): Promise<Run> {
  const clientTools = tools.map(declaration);
  const call = {
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
  return execute(client, await client.runs.create({ ...request, clientTools }, call), undefined, tools, options);
}

/**
 * Executes the client tools of a run that exists, from where it stands: after this program was started anew, say. A call that had begun
 * and has no result yet is executed again, under the same `callId`. `onEvent` is given what comes from now on. Resolves with the run as it ended.
 */
export async function executeClientTools(
  client: NexusClient,
  runId: string,
  tools: readonly DefinedTool[],
  options: ClientToolsOptions = {},
): Promise<Run> {
  const run = await client.runs.get(runId, options.signal === undefined ? {} : { signal: options.signal });
  // Of one that was resumed the events before tell of an end, too.
  return ended.has(run.status) ? run : execute(client, run, String(run.lastSeq), tools, options);
}

async function execute(
  client: NexusClient,
  { id: runId, sessionId }: Run,
  after: string | undefined,
  tools: readonly DefinedTool[],
  { signal, onEvent }: ClientToolsOptions,
): Promise<Run> {
  const byName = new Map(tools.map((tool) => [tool.declared.name, tool]));
  const running = new Map<string, AbortController>();
  const work: Promise<void>[] = [];
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined); // heard by the race below
  const leave = () => failed.reject(signal?.reason);
  signal?.addEventListener('abort', leave, { once: true });
  const end = new AbortController();
  const all = signal === undefined ? end.signal : AbortSignal.any([signal, end.signal]);
  const left = signal === undefined ? {} : { signal };

  async function answer(call: ClientCall, stop: AbortController): Promise<void> {
    const over = setTimeout(() => stop.abort(new Error(`the time of ${call.name} is over`)), timeLeft(call));
    try {
      const result = await unlessStopped(resultOf(byName.get(call.name), call, { runId, sessionId, signal: stop.signal }), stop.signal);
      if (result !== null) await give(call, result);
    } catch (error) {
      // Its time was over, or another program of the same run was faster.
      if (!(error instanceof NexusApiError && error.code === 'conflict')) throw error;
    } finally {
      clearTimeout(over);
    }
  }

  /** What the server refuses of it is told in its place: the run would wait for a better one. */
  async function give({ callId }: ClientCall, result: ClientToolResult): Promise<void> {
    try {
      await client.runs.giveResult(runId, callId, result, left);
    } catch (error) {
      if (!('output' in result && error instanceof NexusApiError && refusals.has(error.code))) throw error;
      await client.runs.giveResult(runId, callId, { error: saidBy(error) }, left);
    }
  }

  async function look(): Promise<void> {
    const { data } = await client.runs.clientCalls(runId, { signal: all });
    for (const call of data) {
      if (running.has(call.callId)) continue;
      const stop = new AbortController();
      running.set(call.callId, stop);
      work.push(answer(call, stop).catch(failed.reject));
    }
  }

  /** Follows the run to its end. One that may go on keeps its calls: what was begun of them is done and given. */
  async function follow(): Promise<void> {
    await look();
    for await (const event of client.runs.stream(runId, { signal: all, ...(after === undefined ? {} : { after }) })) {
      onEvent?.(event);
      if (event.type === 'tool.started' && event.data.awaits === 'client' && !running.has(event.data.callId)) await look();
      if (event.type === 'tool.completed') running.get(event.data.callId)?.abort(new Error('the call is over'));
      if (event.type === 'run.failed' && event.data.resumable) await Promise.all(work);
    }
  }

  try {
    await Promise.race([follow(), failed.promise]);
  } finally {
    signal?.removeEventListener('abort', leave);
    end.abort(new Error('the run is not followed any more'));
    for (const stop of running.values()) stop.abort(new Error('the run has ended'));
    await Promise.allSettled(work);
  }
  return client.runs.get(runId, left);
}

function declaration({ declared }: DefinedTool): ClientTool {
  const { name, description, inputSchema, timeoutMs, outputSchema, maxCostMicroUsd } = declared;
  if (maxCostMicroUsd !== undefined) throw new TypeError(`${name}: maxCostMicroUsd is for tools that are served; a client tool has none`);
  const output = outputSchema === undefined ? {} : { outputSchema };
  return { name, description, inputSchema, ...output, timeoutMs: Math.max(minTimeoutMs, timeoutMs) };
}

const ended: ReadonlySet<Run['status']> = new Set(['completed', 'failed', 'cancelled']);
const minTimeoutMs = 1_000;
const maxOutputChars = 4_000_000;
const refusals: ReadonlySet<string> = new Set(['invalid_request', 'payload_too_large']);
const maxErrorChars = 4_000;

async function resultOf(
  tool: DefinedTool | undefined,
  call: ClientCall,
  at: { readonly runId: string; readonly sessionId: string; readonly signal: AbortSignal },
): Promise<ClientToolResult> {
  if (tool === undefined) return { error: `this program has no tool ${call.name}` };
  try {
    const input = call.arguments as Record<string, unknown>; // held against the schema by the server
    const output = await tool.run(input, { ...at, callId: call.callId, progress: () => undefined });
    const text = typeof output === 'string' ? output : (JSON.stringify(output) ?? '');
    if (text.length > maxOutputChars) return { error: `the result has ${text.length} characters, and ${maxOutputChars} are taken` };
    return { output: text };
  } catch (error) {
    return { error: saidBy(error) };
  }
}

/** What was thrown, in words: tools of others throw anything. */
function saidBy(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error).slice(0, maxErrorChars) || 'it failed';
  } catch {
    return 'it failed';
  }
}

function timeLeft({ deadlineAt }: ClientCall): number {
  return Math.min(maxTimerMs, Math.max(0, Date.parse(deadlineAt) - Date.now()));
}

/** Null once the signal fires: a tool that does not hear of it holds nothing up. */
function unlessStopped(result: Promise<ClientToolResult>, signal: AbortSignal): Promise<ClientToolResult | null> {
  const { promise, resolve } = Promise.withResolvers<null>();
  const stop = () => resolve(null);
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  return Promise.race([promise, result]).finally(() => signal.removeEventListener('abort', stop));
}
