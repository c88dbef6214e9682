import type { ErrorInfo } from '@nexus-agent/protocol';
import type { Holder } from '#core';
import type { PoolLoad } from '../types.ts';
import type { WasmGrants, WasmLimits, WasmWrite } from './messages.ts';

/** A module by its content: what has been compiled once is kept. */
export interface WasmModule {
  readonly sha256: string;
  readonly bytes: Uint8Array;
}

/** What a module may ask of its host while it runs, one thing at a time. Each throws a `NexusError` that the module learns. */
export interface WasmHostCalls {
  /** Its content, or what else is there. */
  openFile(path: string, signal: AbortSignal): Promise<OpenedPath>;
  /** The entries of a folder, `''` for the outermost. */
  listFolder(path: string, signal: AbortSignal): Promise<readonly { readonly name: string; readonly type: 'file' | 'folder' }[]>;
  fetch(request: unknown, signal: AbortSignal): Promise<string>;
}

export type OpenedPath =
  | { readonly type: 'file'; readonly content: Uint8Array }
  | { readonly type: 'folder' }
  | { readonly type: 'nothing' };

export interface WasmRequest {
  readonly module: WasmModule;
  /** Whom it is for; the first argument of the program. */
  readonly name: string;
  /** The exported function to call; the program itself (`_start`) when left out. */
  readonly entry?: string;
  /** Any JSON value; the module reads it as text. */
  readonly input: unknown;
  /** Only sees whether it could run, and gives null: it is compiled and linked, and nothing of it runs. */
  readonly isCheck?: true;
  readonly grants: WasmGrants;
  readonly host: WasmHostCalls;
  readonly limits?: Partial<WasmLimits>;
  readonly holder?: Holder;
  /** What the module says of its progress. */
  readonly onLog?: (text: string) => void;
  /** Cancelling ends the module at once. */
  readonly signal?: AbortSignal;
}

interface WasmFacts {
  readonly fuelUsed: number;
  readonly memoryBytes: number;
  /** From its turn to its end, its waits for the host included. */
  readonly durationMs: number;
  readonly waitedMs: number;
}

/** `writes`: the files that it wrote, which are nowhere yet. */
export type WasmResult =
  | (WasmFacts & { readonly type: 'ok'; readonly value: unknown; readonly writes: readonly WasmWrite[] })
  | (WasmFacts & { readonly type: 'error'; readonly error: ErrorInfo });

export interface WasmSandbox {
  /**
   * Runs a module for one call in an instance of its own, in a thread of its own for that time. Never throws: whatever the module
   * does comes back as a typed error.
   */
  run(request: WasmRequest): Promise<WasmResult>;
  /** The longest that a run may compute and wait for its turn; what the host does for it comes on top. */
  readonly longestMs: number;
  /** What there is of threads now, each of which runs one instance. */
  load(): PoolLoad;
  /** Ends what runs with `cancelled` and releases all threads. */
  close(): Promise<void>;
}
