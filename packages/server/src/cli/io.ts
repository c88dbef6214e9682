import { closeSync, existsSync, openSync } from 'node:fs';
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { importApi, loadSimulation, openPluginTrial, SetupCheck } from '#apps';
import type { NexusConfig } from '#apps/config';
import { UsageError } from './exit-codes.ts';
import type { Style } from './style.ts';

export interface Output {
  /** Text is written so that nothing in it is obeyed or unseen; bytes, too, where a terminal would read them. */
  write(data: string | Uint8Array): void;
  /** As it is: for what moves the cursor of a question. */
  control?(text: string): void;
  readonly isTty: boolean;
}

/** A server inside this process. */
export interface RunningApp {
  readonly url: string;
  /** What a client presents as its key to be the local operator, where that needs one. */
  readonly localToken?: string;
  /** Reads the folders of agents and policies now. Never rejects. */
  reload(): Promise<void>;
  close(): Promise<void>;
}

/** The composition roots, loaded only by the commands that need them. */
export interface Apps {
  startAllInOne(options: {
    config: NexusConfig;
    version: string;
    notes?: readonly string[];
    onlyLooks?: boolean;
    ownsProcess?: boolean;
    /** Aborted while it starts: it rejects with the reason once what was opened is closed. */
    signal?: AbortSignal;
  }): Promise<RunningApp>;
  startAgentCore(options: {
    config: NexusConfig;
    version: string;
    notes?: readonly string[];
    ownsProcess?: boolean;
    signal?: AbortSignal;
  }): Promise<{ readonly address: string; readonly watchUrl: string; close(): Promise<void> }>;
  checkSetup(config: NexusConfig): Promise<SetupCheck[]>;
  readonly loadSimulation: typeof loadSimulation;
  readonly importApi: typeof importApi;
  readonly openPluginTrial: typeof openPluginTrial;
  migrateStore(config: NexusConfig): Promise<void>;
  runDemo(options: {
    interactive: boolean;
    config: NexusConfig;
    version: string;
    out: (text: string) => void;
    style: Style;
    signal: AbortSignal;
    dataDir?: string;
    keep?: boolean;
  }): Promise<void>;
}

/** Everything outside the program that the command line touches. */
export interface CliIo {
  /** Data goes to `stdout`, progress and questions to `stderr`. */
  readonly stdout: Output;
  readonly stderr: Output;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  /** Null when there is no such file. */
  readFile(path: string): Promise<string | null>;
  /** The files beside one that is not there, by the same folder. */
  filesBeside(path: string): Promise<readonly string[]>;
  /** The file appears once all of it is there; what stood in its place is replaced. */
  writeFile(path: string, pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void>;
  /** Calls back at SIGINT and SIGTERM; gives the function that stops it. */
  onSignal(listener: (signal: 'SIGINT' | 'SIGTERM') => void): () => void;
  /** Calls back at SIGHUP, and says whether it came because the terminal is gone; gives the function that stops it. */
  onHangup(listener: (terminalIsGone: boolean) => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
  loadApps(): Promise<Apps>;
}

export function processIo(): CliIo {
  return {
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    stdin: process.stdin,
    env: process.env,
    version: '0.1.0',
    readFile: readText,
    filesBeside: namesBeside,
    writeFile: writePieces,
    onSignal(listener) {
      const onInterrupt = () => listener('SIGINT');
      const onTerminate = () => listener('SIGTERM');
      process.on('SIGINT', onInterrupt);
      process.on('SIGTERM', onTerminate);
      return () => {
        process.off('SIGINT', onInterrupt);
        process.off('SIGTERM', onTerminate);
      };
    },
    onHangup(listener) {
      const attached = [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY);
      const onHangup = () => listener(attached && !hasTerminal());
      process.on('SIGHUP', onHangup);
      return () => process.off('SIGHUP', onHangup);
    },
    exit: (code) => process.exit(code),
    loadApps: () => import('#apps'),
  };
}

/** Whether this process still has a terminal: the name stands for whichever it is. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}

function outputOf(stream: NodeJS.WriteStream): Output {
  // A reader such as `head` may leave early; that is not a failure of ours.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    if (error.code === 'EIO') return; // the terminal is gone: `onHangup` says so
    process.stderr.write(`error: what was to be printed cannot be written (${error.code ?? error.message}); see where the output goes\n`);
    process.exit(1);
  });
  return { write: (data) => void stream.write(data), isTty: stream.isTTY === true };
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    // A failed read does not tell the path by itself.
    throw error instanceof Error ? Object.assign(error, { path }) : error;
  }
}

async function namesBeside(path: string): Promise<readonly string[]> {
  const folder = dirname(path);
  const names = await readdir(folder).catch(() => []);
  return path.includes('/') ? names.map((name) => join(folder, name)) : names;
}

async function writePieces(path: string, pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
  const unfinished = `${path}.${process.pid}.part`;
  try {
    if (!existsSync(dirname(path))) throw new UsageError(`there is no folder ${dirname(path)} to save ${basename(path)} in; make it first`);
    const file = await open(unfinished, 'wx', 0o600);
    try {
      for await (const piece of pieces) await file.writeFile(piece);
    } finally {
      await file.close();
    }
    await rename(unfinished, path);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error instanceof Error ? Object.assign(error, { path }) : error;
  }
}
