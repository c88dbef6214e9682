import type { ErrorInfo } from '@nexus-agent/protocol';

/** What the thread of a module and its host say to each other. Plain data; loaded in the thread, so it imports nothing. */
export interface WasmLimits {
  /** Instructions, as the way of the module through its own code counts them. */
  readonly fuel: number;
  /** Time that it may compute; what it waits for its host is not part of it. */
  readonly wallMs: number;
  readonly memoryBytes: number;
  /** Bytes that it may print, whatever the stream. */
  readonly maxOutputBytes: number;
  /** Bytes of files that it may hold open and write. */
  readonly maxFileBytes: number;
  /** Questions to its host. */
  readonly maxHostCalls: number;
  readonly maxModuleBytes: number;
}

export interface WasmGrants {
  readonly files: 'none' | 'read' | 'write';
  readonly http: boolean;
  /** The time of day; without it time stands still. */
  readonly clock: boolean;
  /** Chance; without it the same numbers come each time. */
  readonly random: boolean;
}

export interface WasmWrite {
  readonly path: string;
  readonly content: Uint8Array<ArrayBuffer>;
}

/** A module with its limits in it, which all threads can use. */
export interface CompiledModule {
  readonly module: WebAssembly.Module;
  readonly importedPages: number | null;
}

export interface WasmJob {
  readonly type: 'job';
  /** Bytes that are to be compiled, or what came of them before. */
  readonly code: Uint8Array | CompiledModule;
  readonly name: string;
  readonly entry: string | null;
  /** It is only to be seen whether it could run: nothing of it runs. */
  readonly isCheck: boolean;
  readonly input: string;
  readonly grants: WasmGrants;
  readonly limits: WasmLimits;
}

export type HostQuestion =
  | { readonly kind: 'open'; readonly path: string }
  | { readonly kind: 'list'; readonly path: string }
  | { readonly kind: 'fetch'; readonly request: string };

export type HostAnswer =
  | { readonly type: 'file'; readonly content: Uint8Array }
  | { readonly type: 'folder' }
  | { readonly type: 'nothing' }
  | { readonly type: 'entries'; readonly entries: readonly { readonly name: string; readonly type: 'file' | 'folder' }[] }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'refused'; readonly error: ErrorInfo };

export interface WasmEnd {
  readonly result:
    | { readonly type: 'ok'; readonly value: string; readonly writes: readonly WasmWrite[] }
    | { readonly type: 'error'; readonly error: ErrorInfo };
  readonly fuelUsed: number;
  readonly memoryBytes: number;
}

export type FromThread =
  | { readonly type: 'ready' }
  /** The thread waits until it is answered on its other port. */
  | { readonly type: 'asks'; readonly question: HostQuestion }
  | { readonly type: 'log'; readonly text: string }
  | { readonly type: 'compiled'; readonly compiled: CompiledModule }
  | { readonly type: 'ended'; readonly end: WasmEnd };
