import type { Readable, Writable } from 'node:stream';
import type { ErrorInfo } from '@nexus-agent/protocol';

/** What one jail may take. What is per process says so; everything else counts for all processes of the jail together. */
export interface JailLimits {
  readonly wallMs: number;
  readonly cpuMs: number;
  /** Memory that the processes write to. Each has it as a hard limit; of all together it is looked at several times a second. */
  readonly memoryBytes: number;
  /** Processes and threads at a time. */
  readonly processes: number;
  /** Open files of each process. */
  readonly files: number;
  /** Largest file that is written. */
  readonly fileBytes: number;
  /** Of stdout and stderr together; of a spawned process only stderr counts. */
  readonly outputBytes: number;
}

export interface JailRequest {
  /** A program of the jail and its arguments; no shell reads them. */
  readonly argv: readonly string[];
  /** Inside; `/workspace`, or `/tmp` without a folder. */
  readonly cwd?: string;
  /** All that the program finds in its environment beside `PATH`, `HOME`, `TMPDIR`, `LANG` and `USER`. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: Uint8Array | string;
  /**
   * Bound at `/workspace`. Where the server is root what lies in it comes to belong to the user of jails. Nobody else may change it until
   * the jail has ended.
   */
  readonly folder?: { readonly path: string; readonly writable: boolean };
  /** Further files and folders of this machine, by the place where the jail sees them. */
  readonly readOnly?: readonly { readonly path: string; readonly at: string }[];
  /**
   * Socket of a proxy on this machine: the program reaches it at a port of its own, which the usual variables of its environment name, and
   * nothing else of any network.
   */
  readonly proxySocket?: string;
  readonly limits: JailLimits;
  readonly onOutput?: (stream: 'stdout' | 'stderr', bytes: Uint8Array) => void;
}

interface JailFacts {
  /** At most `outputBytes` together, also of what was stopped. */
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** As far as it was seen: a short run ends between two looks. */
  readonly cpuMs: number;
  /** The most that was seen. */
  readonly memoryBytes: number;
  readonly durationMs: number;
}

export type JailEnd =
  /** The program ended by itself. `signal` is what killed it, by its exit code of 128 and more. */
  | (JailFacts & { readonly type: 'exited'; readonly exitCode: number; readonly signal: string | null })
  /** It was ended, or never began: `limit_exceeded` with the limit, `cancelled` or `sandbox_unavailable`. */
  | (JailFacts & { readonly type: 'stopped'; readonly error: ErrorInfo });

/** A process that lives in a jail. */
export interface JailedProcess {
  readonly stdin: Writable;
  /** To be read: what is not read keeps the process waiting. */
  readonly stdout: Readable;
  /** Resolves once nothing of it runs any more; `stdout` is empty there. Never rejects. */
  readonly ended: Promise<JailEnd>;
  /** Asks the program itself to end (SIGTERM); what it has started is not told. */
  terminate(): Promise<void>;
  /** Kills all of it at once. */
  kill(): void;
}

/** What is the kernel of jailed programs: that of this machine, or gVisor's, in the same jail. */
export type JailDriver = 'bubblewrap' | 'gvisor';

/** Processes of strangers on this machine, with nothing of it but what they are given. */
export interface Jail {
  /** What a program runs on: `T2`, the kernel of this machine; `T3`, one of its own. */
  readonly tier: 'T2' | 'T3';
  /**
   * Null when this machine can jail, else a sentence that says why not and what would make it possible. Tried once, really: something is
   * run in a jail.
   */
  refusal(): Promise<string | null>;
  /**
   * Gives a folder, and what is in it, to the user of jails where the server is root. {@link run} does so too: this is for who looks at the
   * folder before.
   */
  claim(folder: string): Promise<void>;
  /** Runs a program to its end. Resolves once no process of it is left. Never rejects. Firing the signal kills it at once. */
  run(request: JailRequest, signal: AbortSignal): Promise<JailEnd>;
  /** Starts a program that lives on. Throws `sandbox_unavailable` and `cancelled`; afterwards firing the signal kills it. */
  spawn(request: Omit<JailRequest, 'stdin'>, signal: AbortSignal): Promise<JailedProcess>;
  /** Jails that are there now. */
  alive(): number;
  /** Kills all, and waits until they are gone. */
  close(): Promise<void>;
}

/**
 * What keeps a jailed program in: each can be taken away, so that it can be shown that its attack succeeds without it. No setting does so.
 */
export const defences = [
  'user',
  'nested-users',
  'processes-apart',
  'ipc-apart',
  'network-apart',
  'files-apart',
  'read-only',
  'root-read-only',
  'devices-read-only',
  'environment',
  'session',
  'parent',
  'system-calls',
  'tmp-size',
  'shm-size',
  'limit-wall',
  'limit-cpu',
  'limit-memory',
  'limit-processes',
  'limit-files',
  'limit-file-size',
  'limit-output',
  'limit-disk',
  'leftovers',
] as const;

export type Defence = (typeof defences)[number];
