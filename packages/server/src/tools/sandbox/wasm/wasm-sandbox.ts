import { availableParallelism } from 'node:os';
import { dictionary } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import { type Clock, createShares, isTooDeep, NexusError, type Timers, toErrorInfo, type WaitObserver } from '#core';
import type { CompiledModule, HostAnswer, HostQuestion, WasmEnd, WasmJob, WasmLimits } from './messages.ts';
import { threadStartMs, WasmThread } from './thread.ts';
import type { WasmHostCalls, WasmRequest, WasmResult, WasmSandbox } from './types.ts';

export interface WasmSandboxOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Modules at a time that one session runs; the cores that this process may use when left out. */
  readonly maxThreads?: number;
  /** Further ones, for tenants, sessions and runs of which nothing runs yet. */
  readonly spareThreads?: number;
  readonly maxWaitMs?: number;
  readonly maxQueued?: number;
  readonly idleMs?: number;
  /** What a request may not exceed and gets when it says nothing. */
  readonly limits?: Partial<WasmLimits>;
  readonly observer?: WaitObserver;
}

const mebibyte = 1024 * 1024;
const defaultWasmLimits: WasmLimits = {
  fuel: 5_000_000_000,
  wallMs: 15_000,
  memoryBytes: 64 * mebibyte,
  maxOutputBytes: mebibyte,
  maxFileBytes: 16 * mebibyte,
  maxHostCalls: 1_000,
  maxModuleBytes: 16 * mebibyte,
};

const nobody = { tenantId: '', sessionId: '' };
/** Compiled modules that are kept, by the bytes that they came from. */
const maxKeptBytes = 64 * mebibyte;

/**
 * Runs WebAssembly modules, each time in a fresh instance with its limits in its code, in threads that are killed when one does not
 * stop. Only what was compiled is kept, for all threads; nothing of a module is ever done in the thread of the server.
 */
export function createWasmSandbox(options: WasmSandboxOptions): WasmSandbox {
  const { clock, timers, maxQueued = 10_000, maxWaitMs = 30_000, idleMs = 30_000, spareThreads = 2, observer } = options;
  const { maxThreads = availableParallelism() } = options;
  const ceiling = dictionary({ ...defaultWasmLimits, ...options.limits });
  const shares = createShares({
    ...{ clock, timers, observer, what: 'modules', places: maxThreads, spare: spareThreads, maxWaitMs, maxWaiting: maxQueued },
    settings: { maxWaitMs: 'sandbox.maxWaitMs', maxWaiting: 'sandbox.maxQueued' },
  });
  const compiled = new LRUCache<string, CompiledModule>({ maxSize: maxKeptBytes });
  const threads = new Set<WasmThread>();
  const ending = new Set<Promise<unknown>>();
  let closed = false;

  function startThread(): WasmThread {
    const thread = new WasmThread({
      ...{ timers, clock, idleMs },
      onEnd(ended, gone) {
        threads.delete(ended);
        ending.add(gone);
        void gone.then(() => ending.delete(gone));
      },
    });
    threads.add(thread);
    return thread;
  }

  function runOn(thread: WasmThread, request: WasmRequest, limits: WasmLimits): Promise<WasmEnd | NexusError> {
    const { module, signal, host, onLog } = request;
    const key = `${module.sha256} ${limits.memoryBytes} ${limits.fuel}`;
    const job = jobOf(request, limits, compiled.get(key) ?? module.bytes);
    const ended = new AbortController();
    const asked = new Set<Promise<unknown>>();
    return new Promise<WasmEnd | NexusError>((resolve) => {
      const onAbort = () => thread.kill(new NexusError('cancelled', 'the module was cancelled'));
      signal?.addEventListener('abort', onAbort, { once: true });
      thread.run({
        job,
        onLog: (text) => onLog?.(text),
        onCompiled: (made) => compiled.set(key, made, { size: module.bytes.length + 1 }),
        answer(question) {
          const answered = answerOf(host, question, ended.signal);
          asked.add(answered);
          return answered.finally(() => asked.delete(answered));
        },
        settle(end) {
          signal?.removeEventListener('abort', onAbort);
          ended.abort(new NexusError('cancelled', 'the module has ended'));
          void Promise.allSettled(asked).then(() => resolve(end));
        },
      });
    });
  }

  async function runNow(request: WasmRequest): Promise<WasmEnd | NexusError> {
    const { signal, module } = request;
    if (closed || signal?.aborted) return new NexusError('cancelled', 'the module was cancelled');
    const limits = boundsOf(request.limits ?? {}, ceiling);
    if (module.bytes.length > limits.maxModuleBytes)
      return new NexusError('payload_too_large', `the module has ${module.bytes.length} bytes; one may have ${limits.maxModuleBytes}`);
    const idle = [...threads].find((thread) => !thread.busy);
    return runOn(idle ?? startThread(), request, limits);
  }

  return {
    longestMs: maxWaitMs + threadStartMs + ceiling.wallMs,
    async run(request) {
      const { holder = nobody, signal } = request;
      const askedAt = clock.monotonic();
      let entry: Awaited<ReturnType<typeof shares.enter>>;
      try {
        if (closed) throw new NexusError('sandbox_unavailable', 'the sandbox is shutting down', { retryable: false });
        if (signal?.aborted) throw new NexusError('cancelled', 'the module was cancelled before it began');
        entry = await shares.enter(holder, signal);
      } catch (error) {
        // What the signal says itself is not for the model.
        const isOwn = error instanceof NexusError && error !== signal?.reason;
        const told = isOwn ? error : new NexusError('cancelled', 'the module was cancelled', { cause: error });
        return runResult(told, { waitedMs: clock.monotonic() - askedAt, durationMs: 0 });
      }
      const startedAt = clock.monotonic();
      try {
        return runResult(await runNow(request), { waitedMs: entry.waitedMs, durationMs: clock.monotonic() - startedAt });
      } catch (error) {
        return runResult(toError(error), { waitedMs: entry.waitedMs, durationMs: clock.monotonic() - startedAt });
      } finally {
        entry.leave();
      }
    },
    load() {
      const busy = [...threads].filter((thread) => thread.busy).length;
      return { busy, idle: threads.size - busy };
    },
    async close() {
      closed = true;
      const error = new NexusError('cancelled', 'the sandbox is shutting down');
      shares.close(error);
      for (const thread of threads) thread.kill(error);
      await Promise.all(ending);
    },
  };
}

function toError(error: unknown): NexusError {
  return error instanceof NexusError ? error : new NexusError('internal', 'the sandbox failed', { cause: error });
}

function boundsOf(asked: Partial<WasmLimits>, ceiling: WasmLimits): WasmLimits {
  const limit = (name: keyof WasmLimits) => Math.min(asked[name] ?? ceiling[name], ceiling[name]);
  return {
    fuel: limit('fuel'),
    wallMs: limit('wallMs'),
    memoryBytes: limit('memoryBytes'),
    maxOutputBytes: limit('maxOutputBytes'),
    maxFileBytes: limit('maxFileBytes'),
    maxHostCalls: limit('maxHostCalls'),
    maxModuleBytes: limit('maxModuleBytes'),
  };
}

function jobOf({ name, entry, input, isCheck, grants }: WasmRequest, limits: WasmLimits, code: WasmJob['code']): WasmJob {
  return {
    type: 'job',
    code,
    name,
    entry: entry ?? null,
    isCheck: isCheck === true,
    input: JSON.stringify(input) ?? 'null',
    grants,
    limits,
  };
}

/** What the host says, also when it refuses: the module learns why. */
async function answerOf(host: WasmHostCalls, question: HostQuestion, signal: AbortSignal): Promise<HostAnswer> {
  try {
    switch (question.kind) {
      case 'open':
        return await host.openFile(question.path, signal);
      case 'list':
        return { type: 'entries', entries: await host.listFolder(question.path, signal) };
      case 'fetch':
        return { type: 'text', text: await host.fetch(parseQuestion(question.request), signal) };
      default:
        return question satisfies never;
    }
  } catch (error) {
    return { type: 'refused', error: toErrorInfo(error) };
  }
}

function parseQuestion(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new NexusError('tool_input_invalid', 'what is to be fetched is no JSON; give { "url": "https://…" }');
  }
}

function runResult(end: WasmEnd | NexusError, times: Pick<WasmResult, 'durationMs' | 'waitedMs'>): WasmResult {
  if (end instanceof NexusError) return { type: 'error', error: end.toInfo(), fuelUsed: 0, memoryBytes: 0, ...times };
  const { result, fuelUsed, memoryBytes } = end;
  const facts = { fuelUsed, memoryBytes, ...times };
  if (result.type === 'error') return { ...facts, type: 'error', error: result.error };
  if (!isTooDeep(result.value)) return { ...facts, type: 'ok', value: JSON.parse(result.value), writes: result.writes };
  const error = new NexusError('sandbox_code_error', 'the result of the module is nested too deeply; give a flatter one').toInfo();
  return { ...facts, type: 'error', error };
}
