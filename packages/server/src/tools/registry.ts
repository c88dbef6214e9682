import type { ErrorInfo } from '@nexus-agent/protocol';
import { type Clock, createSchemaValidator, matchesWildcard, NexusError, type SchemaIssue, toErrorInfo } from '#core';
import { boundText } from './output.ts';
import type { Tool, ToolContext, ToolExecution, ToolRegistry, ToolResult } from './types.ts';

export interface ToolFault {
  readonly toolName: string;
  readonly callId: string;
  readonly error: unknown;
}

export interface ToolRegistryOptions {
  /** Names must differ; the order is the one that {@link ToolRegistry.list} and `select` keep. */
  readonly tools: readonly Tool[];
  readonly clock: Clock;
  /** Most characters of one result that reach the model, the note about a cut included. */
  readonly maxOutputChars?: number;
  /** Most characters of progress that one call may send. */
  readonly maxProgressChars?: number;
  /** How long a tool may take to stop after its signal fired. */
  readonly graceMs?: number;
  /** Hears what a tool threw that was no `NexusError`: for the log, because the model only learns that the tool failed. */
  readonly onFault?: (fault: ToolFault) => void;
}

const defaults = { maxOutputChars: 50_000, maxProgressChars: 200_000, graceMs: 1_000 };
const maxTimerMs = 2 ** 31 - 1;
const validName = /^[A-Za-z0-9_.-]{1,64}$/;

type Outcome = { readonly type: 'returned'; readonly result: ToolResult } | { readonly type: 'threw'; readonly error: unknown };

/**
 * Tools that run in this process. Throws `config_invalid` for a name that is malformed or used twice.
 *
 * A tool that answers within the grace after its signal fired keeps its answer: what it says is better known than what
 * we would assume. Where a tool with `effects: once` gives no answer by then, the error is `tool_outcome_unknown`,
 * because it may have taken effect.
 */
export function createToolRegistry(options: ToolRegistryOptions): ToolRegistry {
  const { clock, maxOutputChars, maxProgressChars, graceMs, onFault } = { ...defaults, ...options };
  const tools = indexTools(options.tools);
  const schemas = createSchemaValidator();
  const running = new Set<{ readonly controller: AbortController; readonly done: Promise<unknown> }>();
  let closed = false;

  const validate: ToolRegistry['validate'] = (tool, input) => {
    let issues: readonly SchemaIssue[];
    try {
      issues = isObject(input) ? schemas.check(tool.inputSchema, input) : schemas.check({ type: 'object' }, input);
    } catch (error) {
      return { type: 'error', error: toErrorInfo(error) };
    }
    return issues.length === 0 && isObject(input)
      ? { type: 'ok', input }
      : { type: 'error', error: new NexusError('tool_input_invalid', describeIssues(tool, issues), { details: { issues } }).toInfo() };
  };

  const fault = (tool: Tool, context: ToolContext, error: unknown, message = `the tool ${tool.name} failed unexpectedly`): ErrorInfo => {
    onFault?.({ toolName: tool.name, callId: context.callId, error });
    return { code: 'tool_failed', message, retryable: false };
  };

  /** The tool's answer, or its absence once the grace after the signal is over. */
  const call = async (tool: Tool, input: Record<string, unknown>, context: ToolContext, signal: AbortSignal) => {
    const answer: Promise<Outcome> = (async () => tool.execute(input, limitContext(context, signal, maxProgressChars)))().then(
      (result) => ({ type: 'returned', result }),
      (error: unknown) => ({ type: 'threw', error }),
    );
    let graceTimer: NodeJS.Timeout | undefined;
    let onAbort: (() => void) | undefined;
    const givenUp = new Promise<undefined>((resolve) => {
      onAbort = () => {
        graceTimer = setTimeout(resolve, graceMs, undefined);
      };
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([answer, givenUp]);
    } finally {
      clearTimeout(graceTimer);
      if (onAbort) signal.removeEventListener('abort', onAbort);
    }
  };

  const interrupted = (tool: Tool, signal: AbortSignal): ErrorInfo => {
    const reason = signal.reason instanceof NexusError ? signal.reason : new NexusError('cancelled', 'the call was cancelled');
    if (tool.effects !== 'once') return reason.toInfo();
    return {
      code: 'tool_outcome_unknown',
      message: `${reason.message}; whether ${tool.name} took effect is not known`,
      retryable: false,
      details: { cause: reason.code },
    };
  };

  const conclude = (tool: Tool, context: ToolContext, signal: AbortSignal, outcome: Outcome | undefined): Settled => {
    if (outcome === undefined) return { type: 'error', error: interrupted(tool, signal) };
    if (outcome.type === 'threw') {
      if (signal.aborted) return { type: 'error', error: interrupted(tool, signal) };
      const error = outcome.error instanceof NexusError ? outcome.error.toInfo() : fault(tool, context, outcome.error);
      return { type: 'error', error };
    }
    const { result } = outcome;
    if (result?.type === 'error') {
      const stopped = signal.aborted && result.error.code === 'cancelled';
      return { type: 'error', error: stopped ? interrupted(tool, signal) : boundError(result.error, maxOutputChars) };
    }
    if (result?.type !== 'ok') return { type: 'error', error: fault(tool, context, new TypeError('a tool must give a result')) };
    return concludeOk(tool, context, result);
  };

  const concludeOk = (tool: Tool, context: ToolContext, result: ToolResult & { type: 'ok' }): Settled => {
    try {
      const issues = tool.outputSchema === undefined ? [] : schemas.check(tool.outputSchema, result.output);
      if (issues.length > 0) {
        const message = `the tool ${tool.name} gave an output that does not fit its own schema (${describeIssue(issues[0])})`;
        return { type: 'error', error: fault(tool, context, issues, message) };
      }
      const text = typeof result.output === 'string' ? result.output : (JSON.stringify(result.output) ?? '');
      return { type: 'ok', output: boundText(text, maxOutputChars), costMicroUsd: costOf(tool, result) };
    } catch (error) {
      return { type: 'error', error: fault(tool, context, error, `the output of the tool ${tool.name} cannot be sent as JSON`) };
    }
  };

  const execute: ToolRegistry['execute'] = async (tool, input, context, { timeoutMs }) => {
    const startedAt = clock.monotonic();
    const finish = (settled: Settled): ToolExecution => ({ ...settled, durationMs: Math.max(0, clock.monotonic() - startedAt) });
    if (closed) return finish(refused(new NexusError('unavailable', 'the tools are shutting down')));
    if (context.signal.aborted)
      return finish(refused(new NexusError('cancelled', `the call of ${tool.name} was cancelled before it began`)));
    const checked = validate(tool, input);
    if (checked.type === 'error') return finish(checked);

    const controller = new AbortController();
    const onParentAbort = () => controller.abort(new NexusError('cancelled', `the call of ${tool.name} was cancelled`));
    context.signal.addEventListener('abort', onParentAbort, { once: true });
    const limitMs = Math.min(Math.max(0, timeoutMs), maxTimerMs);
    const timer = setTimeout(
      () => controller.abort(new NexusError('tool_timeout', `the tool ${tool.name} did not finish within ${limitMs} ms`)),
      limitMs,
    );
    const calling = call(tool, checked.input, context, controller.signal);
    const entry = { controller, done: calling };
    running.add(entry);
    try {
      return finish(conclude(tool, context, controller.signal, await calling));
    } finally {
      running.delete(entry);
      clearTimeout(timer);
      context.signal.removeEventListener('abort', onParentAbort);
      // Progress and permissions end with the call, also for a tool that was given up and still runs.
      controller.abort(new NexusError('cancelled', 'the call is over'));
    }
  };

  return {
    list: () => [...tools.values()],
    get: (name) => tools.get(name),
    select: (patterns) => [...tools.values()].filter((tool) => patterns.some((pattern) => matchesWildcard(pattern, tool.name))),
    validate,
    execute,
    async close() {
      closed = true;
      for (const { controller } of running) controller.abort(new NexusError('cancelled', 'the tools are shutting down'));
      await Promise.all([...running].map(({ done }) => done));
    },
  };
}

type Settled =
  | { readonly type: 'ok'; readonly output: string; readonly costMicroUsd: number }
  | { readonly type: 'error'; readonly error: ErrorInfo };

function indexTools(tools: readonly Tool[]): ReadonlyMap<string, Tool> {
  const byName = new Map<string, Tool>();
  for (const tool of tools) {
    if (!validName.test(tool.name)) {
      throw new NexusError('config_invalid', `"${tool.name}" is no tool name: use 1 to 64 of the characters A-Z a-z 0-9 _ . -`);
    }
    if (byName.has(tool.name)) throw new NexusError('config_invalid', `two tools are named ${tool.name}; rename one`);
    byName.set(tool.name, tool);
  }
  return byName;
}

function limitContext(context: ToolContext, signal: AbortSignal, maxProgressChars: number): ToolContext {
  let left = maxProgressChars;
  return {
    ...context,
    signal,
    onOutput(text) {
      if (signal.aborted || left <= 0) return;
      const part = boundText(text, left);
      left -= text.length;
      context.onOutput(part);
    },
    async authorize(request) {
      if (!signal.aborted) return context.authorize(request);
      return { allowed: false, error: { code: 'cancelled', message: 'the call is over', retryable: false } };
    },
  };
}

function refused(error: NexusError): Settled {
  return { type: 'error', error: error.toInfo() };
}

function boundError(error: ErrorInfo, maxChars: number): ErrorInfo {
  return { ...error, message: boundText(error.message, maxChars) };
}

/** A cost that makes no sense is booked as the most that the call may cost: never too little. */
function costOf(tool: Tool, result: ToolResult & { type: 'ok' }): number {
  const cost = result.costMicroUsd ?? 0;
  return Number.isSafeInteger(cost) && cost >= 0 ? cost : (tool.maxCostMicroUsd ?? 0);
}

function describeIssues(tool: Tool, issues: readonly SchemaIssue[]): string {
  return `the arguments of ${tool.name} do not fit: ${issues.map(describeIssue).join('; ')}`;
}

function describeIssue(issue: SchemaIssue | undefined): string {
  if (issue === undefined) return 'unknown';
  return `at "${issue.path === '' ? '(root)' : issue.path}" expected ${issue.expected}, found ${issue.actual}`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
