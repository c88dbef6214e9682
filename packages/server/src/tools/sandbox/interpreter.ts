import type { ErrorInfo } from '@nexus-agent/protocol';
import { EvalFlags, JSException, type JSValueHandle, type QuickJS } from 'quickjs-wasi';
import { remember, rememberedBy, type ScriptEngine, type ScriptEngines } from './engine.ts';
import { type ProgramImage, packImage, readImage } from './image.ts';
import { limitExceeded, type SandboxLimit } from './limit-error.ts';
import type { ResumedProgram, SandboxLimits, WantedCall } from './types.ts';
import { stripTypes } from './typescript.ts';

export interface InterpreterRequest {
  readonly code: string;
  /** JSON, or empty for none. */
  readonly input: string;
  readonly files: readonly (readonly [name: string, text: string])[];
  /** Names of what the code finds in `tools`. */
  readonly tools?: readonly string[];
  readonly limits: SandboxLimits;
  /** Where a program goes on: then nothing else here counts, but for what it may not exceed. */
  readonly resume?: ResumedProgram;
}

export interface InterpreterOutcome {
  readonly result: /** JSON of the value, or empty for none. */
    | { readonly type: 'ok'; readonly value: string }
    | { readonly type: 'suspended'; readonly state: Uint8Array<ArrayBuffer>; readonly calls: readonly WantedCall[] }
    | { readonly type: 'error'; readonly error: ErrorInfo };
  readonly logs: string;
  readonly newLogs: string;
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

/** Under which limits a program runs: those that it began with. */
export function limitsOf({ limits, resume }: InterpreterRequest): SandboxLimits {
  return resume === undefined ? limits : readImage(resume.state).image.limits;
}

/** Runs code in an engine that no other code has touched, or goes on with it. Blocks its thread for as long as the code computes. */
export async function interpret(engines: ScriptEngines, request: InterpreterRequest, clock: InterpreterClock): Promise<InterpreterOutcome> {
  const packed = request.resume === undefined ? undefined : readImage(request.resume.state);
  const from = packed?.image;
  const { limits } = from ?? request;
  const startedAt = clock.monotonic();
  const ranMs = () => (from?.ranMs ?? 0) + clock.monotonic() - startedAt;
  const output = collectOutput(limits.maxOutputChars, from);
  const calls = collectCalls(limits, from);
  const nowMs = from?.nowMs ?? clock.now();
  let fuelUsed = from?.fuelUsed ?? 0;

  const checkLimits = () => {
    output.check();
    if (fuelUsed > limits.fuel) throw new Stopped('fuel', `the code used up its ${limits.fuel} units of fuel; compute less`);
    if (ranMs() > limits.wallMs) throw new Stopped('wall', `the code did not finish within ${limits.wallMs} ms`);
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
    ...output.logs(),
    fuelUsed: Math.min(fuelUsed, limits.fuel),
    memoryBytes: heldBytes(),
    intact,
  });
  const isNearlyFull = () => heldBytes() >= limits.memoryBytes * nearlyFull;

  try {
    const host = {
      nowMs,
      print: (text: JSValueHandle | undefined) => output.print(text),
      report(kind: JSValueHandle | undefined, text: JSValueHandle | undefined) {
        if (kind !== undefined && text !== undefined && output.admit(text)) outcome = { kind: kind.toString(), text: text.toString() };
      },
      call: calls.want,
      poll: burn,
    };
    engine = await engines.take(host, limits.stackBytes);
    if (packed === undefined) begin(engine, request);
    else if (packed.image.layout === engine.layout) goOn(engine, packed, request.resume?.results ?? []);
    else return finish(failure(stateOfAnother), true);
    const jobs = runJobs(engine.vm, burn, from?.jobs ?? 0);
    checkLimits();
    isWhole = true;
    if (outcome !== undefined) return finish(toResult(outcome), true);
    if (calls.wanted.length > 0) {
      const { memory, stackPointer } = rememberedBy(engine);
      const { layout } = engine;
      const image = { layout, stackPointer, limits, nowMs, fuelUsed, jobs, ranMs: ranMs(), ...output.soFar(), ...calls.soFar() };
      return finish({ type: 'suspended', state: packImage(image, memory), calls: calls.wanted }, true);
    }
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

function begin({ vm, guest }: ScriptEngine, { input, files, tools, code }: InterpreterRequest): void {
  const call = (called: JSValueHandle, ...values: JSValueHandle[]) => vm.callFunction(called, vm.undefined, ...values);
  call(guest.setInput, vm.newString(input));
  for (const [name, text] of files) call(guest.addFile, vm.newString(name), vm.newString(text));
  if (tools !== undefined) call(guest.setTools, vm.newString(JSON.stringify(tools)));
  const { promise, boxed } = start(vm, code);
  call(guest.settle, promise, boxed ? vm.true : vm.false);
}

function goOn(engine: ScriptEngine, { image, memory }: ReturnType<typeof readImage>, results: ResumedProgram['results']): void {
  const { vm, guest } = engine;
  remember(engine, { memory: memory(), stackPointer: image.stackPointer });
  for (const { id, isError, output } of results) {
    const [number, text] = [vm.newNumber(id), vm.newString(output)];
    vm.callFunction(guest.endCall, vm.undefined, number, isError ? vm.true : vm.false, text).dispose();
    // What the host holds on to would count as the program's.
    number.dispose();
    text.dispose();
  }
}

/**
 * Runs what `await` and promises put off. The engine polls too rarely between such jobs, so they cost fuel themselves.
 * This takes the engine's raw functions, internal in a version that is pinned exactly, as the public one runs all jobs at once.
 *
 * @returns jobs that are not counted as fuel yet, for when the program goes on
 */
function runJobs(vm: QuickJS, burn: () => void, before: number): number {
  const engine = vm._getExports();
  let jobs = before;
  while (engine.qjs_is_job_pending() !== 0) {
    jobs += 1;
    if (jobs % jobsPerFuel === 0) burn();
    if (engine.qjs_execute_pending_job() < 0) throw new Error('a job of the engine failed');
  }
  return jobs % jobsPerFuel;
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
  logs(): Pick<InterpreterOutcome, 'logs' | 'newLogs'>;
  soFar(): Pick<ProgramImage, 'printed' | 'outputChars'>;
  /** Throws once too much was given out. */
  check(): void;
}

function collectOutput(maxChars: number, from: ProgramImage | undefined): Output {
  const lines: string[] = [...(from?.printed ?? [])];
  const before = lines.length;
  let used = from?.outputChars ?? 0;
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
    logs: () => ({ logs: lines.join('\n'), newLogs: lines.slice(before).join('\n') }),
    soFar: () => ({ printed: lines, outputChars: used }),
    check() {
      if (exceeded) throw new Stopped('output', `the code gave out more than ${maxChars} characters; print and return less`);
    },
  };
}

/** Arguments of one call, and of all calls of a program: they are journalled as if a model had written them. */
const maxInputChars = 200_000;
const maxInputsChars = 2_000_000;

interface Calls {
  readonly wanted: readonly WantedCall[];
  /** The number of a call that the code wants, or why it has none. */
  readonly want: (name: JSValueHandle | undefined, input: JSValueHandle | undefined) => number | string;
  soFar(): Pick<ProgramImage, 'calls' | 'argumentChars'>;
}

function collectCalls({ maxCalls }: SandboxLimits, from: ProgramImage | undefined): Calls {
  const wanted: WantedCall[] = [];
  let made = from?.calls ?? 0;
  let chars = from?.argumentChars ?? 0;
  return {
    wanted,
    want(name, input) {
      if (name === undefined || input === undefined) return 'a call has a name and arguments';
      if (made >= maxCalls) return `the code may call tools ${maxCalls} times; do more with each call`;
      // Asked before the text is copied out.
      const { length } = input;
      if (length > maxInputChars || chars + length > maxInputsChars)
        return `the arguments of a call may have ${maxInputChars} characters as JSON, and those of all calls ${maxInputsChars}`;
      made += 1;
      chars += length;
      wanted.push({ id: made, name: name.toString(), input: input.toString() });
      return made;
    },
    soFar: () => ({ calls: made, argumentChars: chars }),
  };
}

/** Only the engine that made a memory can read it. */
const stateOfAnother: ErrorInfo = {
  code: 'conflict',
  message:
    'the code waited for its calls while this server was updated, and cannot go on: what its calls did has been done; run the rest of it again',
  retryable: false,
};

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
