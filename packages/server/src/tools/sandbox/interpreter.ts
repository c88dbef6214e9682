import type { ErrorInfo } from '@nexus-agent/protocol';
import { EvalFlags, JSException, type JSValueHandle, type QuickJS } from 'quickjs-wasi';
import type { ScriptEngine, ScriptEngines } from './engine.ts';
import { limitExceeded, type SandboxLimit } from './limit-error.ts';
import type { SandboxLimits } from './types.ts';
import { stripTypes } from './typescript.ts';

export interface InterpreterRequest {
  readonly code: string;
  /** JSON, or empty for none. */
  readonly input: string;
  readonly files: readonly (readonly [name: string, text: string])[];
  readonly limits: SandboxLimits;
}

export interface InterpreterOutcome {
  /** JSON of the value, or empty for none. */
  readonly result: { readonly type: 'ok'; readonly value: string } | { readonly type: 'error'; readonly error: ErrorInfo };
  readonly logs: string;
  readonly fuelUsed: number;
  readonly memoryBytes: number;
  /** False when the engine or the parser of types trapped: then the thread should be replaced as well. */
  readonly intact: boolean;
}

interface InterpreterClock {
  now(): number;
  monotonic(): number;
}

/** Thrown through the engine, where the code cannot catch it. The engine is unusable afterwards. */
class Stopped extends Error {
  readonly error: ErrorInfo;

  constructor(limit: SandboxLimit, message: string) {
    super(message);
    this.error = limitExceeded(limit, message);
  }
}

/** The code cannot be run as it is written. Thrown before any of it has run. */
class Unreadable extends Error {
  readonly error: ErrorInfo;
  readonly isParserBroken: boolean;

  constructor(
    message: string,
    { line, isParserBroken = false }: { readonly line?: number | undefined; readonly isParserBroken?: boolean },
  ) {
    super(message);
    this.error = codeErrorAt(`SyntaxError: ${cut(message)}`, line);
    this.isParserBroken = isParserBroken;
  }
}

const fileName = 'code.js';
const maxMessageChars = 2_000;
const nearlyFull = 0.9;
const jobsPerFuel = 500;

/** Runs code in an engine that no other code has touched. Blocks its thread for as long as the code computes. */
export async function interpret(engines: ScriptEngines, request: InterpreterRequest, clock: InterpreterClock): Promise<InterpreterOutcome> {
  const { limits } = request;
  const deadline = clock.monotonic() + limits.wallMs;
  const output = collectOutput(limits.maxOutputChars);
  let fuelUsed = 0;

  const checkLimits = () => {
    output.check();
    if (fuelUsed > limits.fuel) throw new Stopped('fuel', `the code used up its ${limits.fuel} units of fuel; compute less`);
    if (clock.monotonic() > deadline) throw new Stopped('wall', `the code did not finish within ${limits.wallMs} ms`);
  };

  const burn = () => {
    fuelUsed += 1;
    checkLimits();
  };
  let outcome: Outcome | undefined;
  let isWhole = false;
  let engine: ScriptEngine | undefined;
  const heldBytes = () => engine?.memory.buffer.byteLength ?? 0;
  const finish = (result: InterpreterOutcome['result'], intact: boolean): InterpreterOutcome => ({
    result,
    logs: output.logs(),
    fuelUsed: Math.min(fuelUsed, limits.fuel),
    memoryBytes: heldBytes(),
    intact,
  });
  const isNearlyFull = () => heldBytes() >= limits.memoryBytes * nearlyFull;

  try {
    const host = {
      nowMs: clock.now(),
      print: (text: JSValueHandle | undefined) => output.print(text),
      report(kind: JSValueHandle | undefined, text: JSValueHandle | undefined) {
        if (kind !== undefined && text !== undefined && output.admit(text)) outcome = { kind: kind.toString(), text: text.toString() };
      },
      poll: burn,
    };
    engine = await engines.take(host, limits.stackBytes);
    evaluate(engine, request, burn);
    checkLimits();
    isWhole = true;
    if (outcome !== undefined) return finish(toResult(outcome), true);
    // Nothing waits any more and yet the code did not end: it lost its continuation.
    if (isNearlyFull()) return finish(failure(memoryExceeded(limits)), true);
    return finish(failure(codeError('the code waits for a promise that nothing settles (there are no timers and no network here)')), true);
  } catch (error) {
    if (error instanceof Stopped) return finish(failure(error.error), true);
    if (error instanceof Unreadable) return finish(failure(error.error), !error.isParserBroken);
    if (error instanceof JSException) {
      return finish(
        toResult({ kind: 'error', text: JSON.stringify({ name: error.name, message: error.message, stack: error.stack ?? '' }) }),
        true,
      );
    }
    return finish(failure(isNearlyFull() ? memoryExceeded(limits) : explainTrap(error)), false);
  } finally {
    if (engine !== undefined) engines.giveBack(engine, isWhole);
  }
}

interface Outcome {
  readonly kind: string;
  readonly text: string;
}

function evaluate({ vm, guest }: ScriptEngine, request: InterpreterRequest, burn: () => void): void {
  const call = (called: JSValueHandle, ...values: JSValueHandle[]) => vm.callFunction(called, vm.undefined, ...values);
  call(guest.setInput, vm.newString(request.input));
  for (const [name, text] of request.files) call(guest.addFile, vm.newString(name), vm.newString(text));
  const { promise, boxed } = start(vm, request.code);
  call(guest.settle, promise, boxed ? vm.true : vm.false);
  runJobs(vm, burn);
}

/**
 * Runs what `await` and promises put off. The engine polls too rarely between such jobs, so they cost fuel themselves.
 * This takes the engine's raw functions, internal in a version that is pinned exactly, as the public one runs all jobs at once.
 */
function runJobs(vm: QuickJS, burn: () => void): void {
  const engine = vm._getExports();
  for (let jobs = 1; engine.qjs_is_job_pending() !== 0; jobs++) {
    if (jobs % jobsPerFuel === 0) burn();
    if (engine.qjs_execute_pending_job() < 0) throw new Error('a job of the engine failed');
  }
}

interface Started {
  readonly promise: JSValueHandle;
  readonly boxed: boolean;
}

/** JavaScript runs as it is. What is none may be TypeScript: it runs without its types. */
function start(vm: QuickJS, code: string): Started {
  try {
    return startScript(vm, code);
  } catch (error) {
    // Nothing of it has run: what the code itself throws, its promise is rejected with.
    if (!(error instanceof JSException) || error.name !== 'SyntaxError') throw error;
    return startScript(vm, withoutTypes(code, error));
  }
}

function withoutTypes(code: string, fault: JSException): string {
  const stripped = stripTypes(code);
  switch (stripped.type) {
    case 'stripped':
      return stripped.code;
    case 'unsupported':
      throw new Unreadable(`${stripped.message}; types are removed here, and nothing else of TypeScript is translated`, stripped);
    case 'broken':
      throw new Unreadable('the code is nested too deeply to be read as TypeScript; write it more simply, or in JavaScript', {
        isParserBroken: true,
      });
    case 'invalid':
      // Whoever understood more of it knows better what is wrong.
      if ((stripped.line ?? 0) > (lineIn(fault.stack ?? '') ?? 0)) throw new Unreadable(stripped.message, stripped);
      throw fault;
  }
}

/** A script whose value is its last expression; code that returns at its top level runs as the body of a function instead. */
function startScript(vm: QuickJS, code: string): Started {
  try {
    return { promise: vm.evalCode(code, fileName, EvalFlags.ASYNC), boxed: true };
  } catch (error) {
    if (!(error instanceof JSException) || error.name !== 'SyntaxError' || !error.message.includes('return not in a function')) throw error;
    // On the line of the first statement, so that line numbers stay true.
    return { promise: vm.evalCode(`(async () => {${code}\n})()`, fileName), boxed: false };
  }
}

interface Output {
  print(text: JSValueHandle | undefined): void;
  /** Counts a text that the code gives back; false when there is no room for it. */
  admit(text: JSValueHandle): boolean;
  logs(): string;
  /** Throws once too much was given out. */
  check(): void;
}

function collectOutput(maxChars: number): Output {
  const lines: string[] = [];
  let used = 0;
  let exceeded = false;
  const admit = (text: JSValueHandle) => {
    // Asked before the text is copied out. Reading the length of a string runs no code.
    used += text.length + 1;
    exceeded ||= used > maxChars + 1;
    return !exceeded;
  };
  return {
    admit,
    print(text) {
      if (!exceeded && text?.isString && admit(text)) lines.push(text.toString());
    },
    logs: () => lines.join('\n'),
    check() {
      if (exceeded) throw new Stopped('output', `the code gave out more than ${maxChars} characters; print and return less`);
    },
  };
}

function toResult({ kind, text }: Outcome): InterpreterOutcome['result'] {
  if (kind === 'ok') return { type: 'ok', value: text };
  const { name, message, stack } = JSON.parse(text) as { name: string; message: string; stack: string }; // made by the prelude or just above
  if (
    /out of memory|invalid (string|array|array buffer|typed array) length|string too long|array too (large|long)/i.test(message) &&
    /^(InternalError|RangeError)$/.test(name)
  ) {
    return failure(limitExceeded('memory', `the code used up its memory (${name}: ${cut(message)})`));
  }
  if (/stack overflow|call stack size/i.test(message) && /^(InternalError|RangeError)$/.test(name)) {
    return failure(limitExceeded('stack', 'the code recursed too deeply'));
  }
  return failure(codeErrorAt(`${cut(name)}: ${cut(message)}`, lineIn(stack)));
}

function lineIn(stack: string): number | undefined {
  const line = new RegExp(`${fileName.replace('.', '\\.')}:(\\d+)`).exec(stack)?.[1];
  return line === undefined ? undefined : Number(line);
}

function codeErrorAt(message: string, line: number | undefined): ErrorInfo {
  return line === undefined ? codeError(message) : codeError(`${message} (line ${line})`, { line });
}

function codeError(message: string, details: Record<string, unknown> = {}): ErrorInfo {
  return { code: 'sandbox_code_error', message, retryable: false, details };
}

function memoryExceeded(limits: SandboxLimits): ErrorInfo {
  return limitExceeded('memory', `the code used up its ${limits.memoryBytes} bytes of memory`);
}

/** The engine itself gave up: its own stack or memory ran out under the code. */
function explainTrap(error: unknown): ErrorInfo {
  const text = error instanceof Error ? error.message : '';
  if (/malloc failed|could not allocate|out of memory/i.test(text)) {
    return limitExceeded('memory', 'the code used up its memory');
  }
  if (/call stack|out of bounds|stack/i.test(text)) {
    return limitExceeded('stack', 'the code recursed or nested too deeply');
  }
  return codeError('the engine gave up on this code; write it more simply');
}

function failure(error: ErrorInfo): InterpreterOutcome['result'] {
  return { type: 'error', error };
}

function cut(text: string): string {
  return text.length > maxMessageChars ? `${text.slice(0, maxMessageChars)}…` : text;
}
