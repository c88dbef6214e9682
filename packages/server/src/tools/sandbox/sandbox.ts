import { availableParallelism } from 'node:os';
import { dictionary } from '@nexus-agent/protocol';
import { type Clock, createShares, NexusError, type Timers } from '#core';
import type { InterpreterRequest } from './interpreter.ts';
import { createThreadPool } from './pool.ts';
import type { JobEnd } from './thread.ts';
import type { Sandbox, SandboxLimits, SandboxRequest, SandboxResult } from './types.ts';

export interface SandboxOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Threads at most that one session keeps busy; they start when they are needed. */
  readonly maxThreads?: number;
  /** Further threads, for tenants and sessions of which nothing runs yet. */
  readonly spareThreads?: number;
  /** Runs of one tenant that may wait for a thread; further ones are refused. */
  readonly maxQueued?: number;
  /** A thread that had nothing to do for so long ends. */
  readonly idleMs?: number;
  /** What a request may not exceed and gets when it says nothing. */
  readonly limits?: Partial<SandboxLimits>;
}

const defaultSandboxLimits: SandboxLimits = {
  fuel: 5_000,
  wallMs: 15_000,
  memoryBytes: 64 * 1024 * 1024,
  stackBytes: 256 * 1024,
  maxOutputChars: 50_000,
};

const nobody = { tenantId: '', sessionId: '' };
const minMemoryBytes = 4 * 1024 * 1024;

/** Runs code in QuickJS, each time in a fresh engine with a capped memory, in threads that are killed when they do not stop. */
export function createSandbox(options: SandboxOptions): Sandbox {
  const { clock, timers, maxQueued = 64, idleMs = 30_000, maxThreads = Math.min(2, availableParallelism()), spareThreads = 2 } = options;
  const ceiling = dictionary({ ...defaultSandboxLimits, ...options.limits });
  const pool = createThreadPool({ timers, idleMs });
  const shares = createShares({
    ...{ what: 'programs', places: maxThreads, spare: spareThreads, maxWaiting: maxQueued, setting: 'sandbox.maxQueued' },
    retryAfterMs: ceiling.wallMs,
  });
  let closed = false;

  const refuse = (request: InterpreterRequest, signal: AbortSignal | undefined): NexusError | undefined => {
    if (closed) return new NexusError('sandbox_unavailable', 'the sandbox is shutting down', { retryable: false });
    if (signal?.aborted) return new NexusError('cancelled', 'the code was cancelled before it began');
    // Texts take up to three times their length inside, and the code needs room to work with them.
    const chars = request.files.reduce((sum, [name, text]) => sum + name.length + text.length, request.code.length + request.input.length);
    const maxChars = Math.floor(request.limits.memoryBytes / 8);
    if (chars > maxChars) {
      return new NexusError(
        'payload_too_large',
        `code, input and files may have ${maxChars} characters together, these have ${chars}; pass a smaller part`,
      );
    }
    return undefined;
  };

  async function runInTurn(prepared: InterpreterRequest, { holder = nobody, signal }: SandboxRequest): Promise<JobEnd> {
    let leave: () => void;
    try {
      leave = await shares.enter(holder, signal);
    } catch (error) {
      const isKnown = error instanceof NexusError && !signal?.aborted;
      return { type: 'stopped', error: isKnown ? error : new NexusError('cancelled', 'the code was cancelled', { cause: error }) };
    }
    try {
      if (closed || signal?.aborted) return { type: 'stopped', error: new NexusError('cancelled', 'the code was cancelled') };
      return await pool.run(prepared, signal);
    } finally {
      leave();
    }
  }

  return {
    async run(request) {
      const startedAt = clock.monotonic();
      const prepared = prepare(request, ceiling);
      const refusal = refuse(prepared, request.signal);
      const end: JobEnd = refusal === undefined ? await runInTurn(prepared, request) : { type: 'stopped', error: refusal };
      return toResult(end, clock.monotonic() - startedAt);
    },
    async close() {
      closed = true;
      const error = new NexusError('cancelled', 'the sandbox is shutting down');
      shares.close(error);
      await pool.close(error);
    },
  };
}

function prepare({ code, input, files = {}, limits = {} }: SandboxRequest, ceiling: SandboxLimits): InterpreterRequest {
  const limit = (name: keyof SandboxLimits) => Math.min(limits[name] ?? ceiling[name], ceiling[name]);
  return {
    code,
    input: input === undefined ? '' : (JSON.stringify(input) ?? ''),
    files: Object.entries(files),
    limits: {
      fuel: limit('fuel'),
      wallMs: limit('wallMs'),
      memoryBytes: Math.max(minMemoryBytes, limit('memoryBytes')),
      stackBytes: limit('stackBytes'),
      maxOutputChars: limit('maxOutputChars'),
    },
  };
}

function toResult(end: JobEnd, durationMs: number): SandboxResult {
  if (end.type === 'stopped') {
    return { type: 'error', error: end.error.toInfo(), logs: '', fuelUsed: 0, memoryBytes: 0, durationMs };
  }
  const { result, logs, fuelUsed, memoryBytes } = end.outcome;
  const facts = { logs, fuelUsed, memoryBytes, durationMs };
  if (result.type === 'error') return { ...facts, type: 'error', error: result.error };
  return { ...facts, type: 'ok', value: result.value === '' ? undefined : JSON.parse(result.value) };
}
