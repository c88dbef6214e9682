import { Readable } from 'node:stream';
import { checkSetup, importApi, loadSimulation, openPluginTrial, startAllInOne } from '#apps';
import { createKeptLog } from '#apps/testing';
import type { Apps, CliIo, RunningApp } from './io.ts';
import { main } from './main.ts';

export interface CliResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** What it saved, by path. */
  readonly saved: Readonly<Record<string, string>>;
}

export interface CliRunOptions {
  readonly env?: Record<string, string>;
  readonly files?: Record<string, string>;
  /** What a person types, one line a question; makes the input a terminal. */
  readonly typed?: readonly string[];
  /** What is piped in. */
  readonly piped?: string | readonly Uint8Array[];
  /** Sends an interrupt when the output so far fits. */
  readonly interruptAt?: RegExp;
  /** Its terminal is closed when the output so far fits. */
  readonly hangUpAt?: RegExp;
  readonly apps?: Partial<Apps>;
}

/** Runs a command line with everything it prints captured. */
export async function runCli(argv: readonly string[], options: CliRunOptions = {}): Promise<CliResult> {
  let out = '';
  let err = '';
  const saved: Record<string, string> = {};
  let interruptSent = false;
  const listeners = new Set<(signal: 'SIGINT') => void>();
  const hangups = new Set<(terminalIsGone: boolean) => void>();
  const watch = () => {
    if (options.hangUpAt?.test(out + err)) for (const listener of hangups) listener(true);
    if (options.interruptAt === undefined || interruptSent || !options.interruptAt.test(out + err)) return;
    interruptSent = true;
    setImmediate(() => {
      for (const listener of listeners) listener('SIGINT');
    });
  };
  const onTerminal = options.typed !== undefined;
  const stdin = onTerminal
    ? typing(options.typed ?? [])
    : Readable.from(typeof options.piped === 'string' ? [options.piped] : (options.piped ?? []));
  const unsupported = () => Promise.reject(new Error('this test has no such app'));
  const io: CliIo = {
    stdout: {
      isTty: false,
      write(data) {
        out += typeof data === 'string' ? data : Buffer.from(data).toString('utf8');
        watch();
      },
    },
    stderr: {
      isTty: onTerminal,
      write(text) {
        err += text;
        watch();
      },
    },
    stdin: Object.assign(stdin, { isTTY: onTerminal }),
    env: { NO_COLOR: '1', ...options.env },
    version: '0.0.0-test',
    readFile: async (path) => options.files?.[path] ?? null,
    filesBeside: async () => Object.keys(options.files ?? {}),
    async writeFile(path, pieces) {
      const all: Uint8Array[] = [];
      for await (const piece of pieces) all.push(piece);
      saved[path] = Buffer.concat(all).toString('utf8');
    },
    onSignal(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onHangup(listener) {
      hangups.add(listener);
      return () => hangups.delete(listener);
    },
    exit: () => undefined,
    loadApps: async () => ({
      startAllInOne: unsupported,
      startAgentCore: unsupported,
      migrateStore: unsupported,
      runDemo: unsupported,
      checkSetup,
      loadSimulation,
      importApi,
      openPluginTrial,
      ...options.apps,
    }),
  };
  const code = await main(argv, io);
  return { code, out, err, saved };
}

/** Lines that arrive one after another, as from a keyboard. */
function typing(lines: readonly string[]): Readable {
  const rest = [...lines];
  return new Readable({
    read() {
      setImmediate(() => this.push(rest.length === 0 ? null : `${rest.shift()}\n`));
    },
  });
}

/** The real composition root, which keeps its log off the terminal and tells what it started. */
export function watchedApp(started: RunningApp[]): Apps['startAllInOne'] {
  return async (options) => {
    const app = await startAllInOne({ ...options, logger: createKeptLog().logger });
    started.push(app);
    return app;
  };
}
