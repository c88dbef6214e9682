import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { capWasmMemory } from './capped-wasm.ts';
import { type InterpreterOutcome, type InterpreterRequest, interpret } from './interpreter.ts';

/**
 * The thread that runs code. It imports only what lies beside it and packages, so that it starts from source and from
 * the built files alike.
 */
export interface ThreadAnswer {
  readonly outcome: InterpreterOutcome | undefined;
}

const pageBytes = 64 * 1024;
const maxModules = 4;
const niceness = 5;
const modules = new Map<number, WebAssembly.Module>();
let binary: Uint8Array | undefined;

/** The limit is part of the compiled module, so there is one for each limit in use. */
function moduleFor(memoryBytes: number): WebAssembly.Module {
  const maxPages = Math.ceil(memoryBytes / pageBytes);
  const known = modules.get(maxPages);
  if (known !== undefined) return known;
  binary ??= readFileSync(createRequire(import.meta.url).resolve('quickjs-wasi/quickjs.wasm'));
  const module = new WebAssembly.Module(capWasmMemory(binary, maxPages));
  const oldest = modules.keys().next().value;
  if (modules.size >= maxModules && oldest !== undefined) modules.delete(oldest);
  modules.set(maxPages, module);
  return module;
}

// The event loop of the server goes first when processors are scarce. Only Linux gives threads a priority of their own.
if (process.platform === 'linux') setPriority(0, niceness);

const clock = { now: () => Date.now(), monotonic: () => performance.now() };

parentPort?.on('message', async (request: InterpreterRequest) => {
  let outcome: InterpreterOutcome | undefined;
  try {
    outcome = await interpret(moduleFor(request.limits.memoryBytes), request, clock);
  } catch {
    outcome = undefined; // the host calls this a broken thread and replaces it
  }
  parentPort?.postMessage({ outcome } satisfies ThreadAnswer);
});
