import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { capWasmMemory, mutableGlobals } from './capped-wasm.ts';
import { createEngines, type ScriptEngines } from './engine.ts';
import { type InterpreterOutcome, type InterpreterRequest, interpret, limitsOf } from './interpreter.ts';

/**
 * The thread that runs code. It imports only what lies beside it and packages, so that it starts from source and from
 * the built files alike.
 */
export interface ThreadAnswer {
  readonly type: 'answer';
  readonly outcome: InterpreterOutcome | undefined;
}

/** `ready`: it has loaded what it needs, once. */
export type ThreadMessage = { readonly type: 'ready' } | ThreadAnswer;

const pageBytes = 64 * 1024;
const maxModules = 4;
const niceness = 5;
const engines = new Map<number, ScriptEngines>();
let binary: Uint8Array | undefined;

/** The limit is part of the compiled module, so there is one for each limit in use. */
function enginesFor(memoryBytes: number): ScriptEngines {
  const maxPages = Math.ceil(memoryBytes / pageBytes);
  const known = engines.get(maxPages);
  if (known !== undefined) return known;
  binary ??= readFileSync(createRequire(import.meta.url).resolve('quickjs-wasi/quickjs.wasm'));
  const module = new WebAssembly.Module(capWasmMemory(binary, maxPages));
  // The stack pointer, and nothing else that is outside the memory.
  const made = createEngines(module, memoryBytes, mutableGlobals(binary) === 1);
  const oldest = engines.keys().next().value;
  if (engines.size >= maxModules && oldest !== undefined) engines.delete(oldest);
  engines.set(maxPages, made);
  return made;
}

// The event loop of the server goes first when processors are scarce. Only Linux gives threads a priority of their own.
if (process.platform === 'linux') setPriority(0, niceness);

const clock = { now: () => Date.now(), monotonic: () => performance.now() };

parentPort?.on('message', async (request: InterpreterRequest) => {
  let outcome: InterpreterOutcome | undefined;
  try {
    outcome = await interpret(enginesFor(limitsOf(request).memoryBytes), request, clock);
  } catch {
    outcome = undefined; // the host calls this a broken thread and replaces it
  }
  const handedOver = outcome?.result.type === 'suspended' ? [outcome.result.state.buffer] : [];
  parentPort?.postMessage({ type: 'answer', outcome } satisfies ThreadMessage, handedOver);
});
parentPort?.postMessage({ type: 'ready' } satisfies ThreadMessage);
