import type { ErrorInfo } from '@nexus-agent/protocol';
import type { Holder } from '#core';

export interface SandboxLimits {
  /**
   * How much the code may compute, in interrupt polls of the engine (one for about 10,000 loop turns or calls). The same
   * code with the same input stops at the same count each time.
   */
  readonly fuel: number;
  /** Second ring for what computes without polling, such as one huge string search. */
  readonly wallMs: number;
  readonly memoryBytes: number;
  readonly stackBytes: number;
  /** Most calls of tools that one program may make. */
  readonly maxCalls: number;
  /** Most characters of what is printed and given back together. */
  readonly maxOutputChars: number;
}

export interface SandboxRequest {
  readonly code: string;
  /** Any JSON value; the code finds it as `input`. */
  readonly input?: unknown;
  /** Texts by name; the code finds them as `files`. They are asked for once it is the turn of the code: what waits holds none of them. */
  readonly files?: Readonly<Record<string, string>> | (() => Promise<Readonly<Record<string, string>>>);
  readonly limits?: Partial<SandboxLimits>;
  /** For whom it runs: tenants, their sessions and the runs of these take turns. All that say nothing are one. */
  readonly holder?: Holder;
  /** Cancelling ends the code at once. */
  readonly signal?: AbortSignal;
}

/** Code that may call tools. */
export interface ProgramRequest extends SandboxRequest {
  /** Names of tools that the code finds as async functions of `tools`; left out, there is no `tools`. */
  readonly tools?: readonly string[];
  /** Where it goes on, with the results of what it waited for; its code, input and limits are those that it had. */
  readonly resume?: ResumedProgram;
}

export interface ResumedProgram {
  /** What {@link ProgramResult} gave. */
  readonly state: Uint8Array;
  /** Of all calls that it waited for: they are told to it in this order. */
  readonly results: readonly CallResult[];
}

/** What came of a call of a tool. */
export interface CallResult {
  readonly id: number;
  /** `output` is then `{ error: { code, message, details? } }`; else what the tool gave, text or JSON. */
  readonly isError: boolean;
  readonly output: string;
}

/** A call that a program wants made. */
export interface WantedCall {
  /** Numbered from 1 in each program. */
  readonly id: number;
  readonly name: string;
  /** JSON. */
  readonly input: string;
}

interface SandboxFacts {
  /** What the code printed, also before it failed. Empty when it had to be killed. */
  readonly logs: string;
  /** What of that came since it went on. */
  readonly newLogs: string;
  readonly fuelUsed: number;
  /** The most memory that the engine held. */
  readonly memoryBytes: number;
  /** From its turn to its end: what it waited is not part of it. */
  readonly durationMs: number;
  /** So long it waited for its turn. */
  readonly waitedMs: number;
}

/** `value` is the last expression or what was returned, awaited, as a JSON value; undefined when there is none. */
export type SandboxResult =
  | (SandboxFacts & { readonly type: 'ok'; readonly value: unknown })
  | (SandboxFacts & { readonly type: 'error'; readonly error: ErrorInfo });

/**
 * `suspended`: nothing can go on in it before these calls have results. `state` is all that there is of it then: any process may go on with it,
 * exactly where it was.
 */
export type ProgramResult =
  | SandboxResult
  | (SandboxFacts & { readonly type: 'suspended'; readonly state: Uint8Array; readonly calls: readonly WantedCall[] });

export interface Sandbox {
  /**
   * Runs code in an engine of its own, which has no access to files, network, time passing, processes or other runs.
   * It begins when it is its turn. Never throws but for what `files` throws: whatever the code does comes back as a typed error. One that
   * did not get its turn in time is `rate_limited` and may be tried again; a thread that breaks before the code has an answer is replaced
   * once, in the same turn.
   */
  run(request: SandboxRequest): Promise<SandboxResult>;
  /** The same for code that may call tools: until it has ended, or waits for some. */
  advance(request: ProgramRequest): Promise<ProgramResult>;
  /** The longest that a run may take by its limits, waiting and the start of threads included. */
  readonly longestMs: number;
  /** What there is of threads now. */
  load(): PoolLoad;
  /** Ends what runs with `cancelled` and releases all threads. */
  close(): Promise<void>;
}

/** How many of what a sandbox runs programs in work, and how many wait for work. */
export interface PoolLoad {
  readonly busy: number;
  readonly idle: number;
}
