import { createHash } from 'node:crypto';
import { type JSValueHandle, QuickJS } from 'quickjs-wasi';
import { guestPrelude } from './guest.ts';

/** What a program sees of the host, for as long as it runs. */
export interface EngineHost {
  /** Milliseconds since 1970: what every clock stands at. */
  readonly nowMs: number;
  print(text: JSValueHandle | undefined): void;
  report(kind: JSValueHandle | undefined, text: JSValueHandle | undefined): void;
  /** A call of a tool, with its arguments as JSON: its number, or why there is none. */
  call(name: JSValueHandle | undefined, input: JSValueHandle | undefined): number | string;
  /** The engine polls it as it computes. What it throws ends the program, which cannot catch it. */
  poll(): void;
}

/** An engine in the state in which engines are made, with the functions of the prelude that it calls. */
export interface ScriptEngine {
  readonly vm: QuickJS;
  readonly memory: WebAssembly.Memory;
  readonly guest: Readonly<Record<GuestFunction, JSValueHandle>>;
  /** The same for all engines whose memory means the same. */
  readonly layout: string;
}

const guestFunctions = ['setInput', 'setTools', 'addFile', 'settle', 'endCall'] as const;
type GuestFunction = (typeof guestFunctions)[number];

/** What an engine remembers between two jobs, with its stack empty. */
export interface EngineMemory {
  readonly memory: Uint8Array;
  readonly stackPointer: number;
}

export function rememberedBy({ vm, memory }: ScriptEngine): EngineMemory {
  return { memory: new Uint8Array(memory.buffer), stackPointer: rawOf(vm).__stack_pointer.value };
}

/** The engine goes on from there. Throws a `RangeError` where its memory may not be as large. */
export function remember({ vm, memory }: ScriptEngine, from: EngineMemory): void {
  const missing = Math.ceil((from.memory.byteLength - memory.buffer.byteLength) / pageBytes);
  if (missing > 0) memory.grow(missing);
  const own = new Uint8Array(memory.buffer);
  own.set(from.memory);
  own.fill(0, from.memory.byteLength);
  rawOf(vm).__stack_pointer.value = from.stackPointer;
}

const pageBytes = 64 * 1024;

/** Engines of one memory limit, for programs one after the other. */
export interface ScriptEngines {
  take(host: EngineHost, stackBytes: number): Promise<ScriptEngine>;
  /**
   * The program has ended. `isWhole`: in the ordinary way, so that the engine may serve another one. It is put back into its first state at
   * once; else it is gone, with all that the program left in it.
   */
  giveBack(engine: ScriptEngine, isWhole: boolean): void;
}

/**
 * All that an engine can remember, as it was before any program: its linear memory and its stack pointer, which is its one mutable global
 * ({@link statefulGlobals}). Code in the engine reaches nothing else, whatever it breaks there: functions lie outside the memory, and its
 * table is only read.
 */
interface FirstState {
  readonly memory: Uint8Array;
  readonly stackPointer: number;
  /** Where the state of `Math.random` lies; each program begins with one of its own. Null: unknown, so that the engine serves one alone. */
  readonly seed: Span | null;
}

interface Span {
  readonly at: number;
  readonly bytes: number;
}

interface Made extends ScriptEngine {
  readonly first: FirstState;
  readonly tableLength: number;
  serve(host: EngineHost): void;
}

/** The library keeps a little on its own side for some programs, which nothing else takes away. */
const maxPrograms = 1_000;
const maxSeedBytes = 16;
/** The context of the engine, of which the state of `Math.random` is a part, begins with this many bytes or more. */
const contextBytes = 2_048;
/** Room that a first state has for small programs, as memory that has grown cannot shrink again. */
const roomBytes = 512 * 1024;
const roomShare = 1 / 16;

interface RawExports {
  readonly __stack_pointer: WebAssembly.Global;
  readonly __indirect_function_table: WebAssembly.Table;
  qjs_get_context_ptr(): number;
  qjs_get_runtime_ptr(): number;
  qjs_set_max_stack_size(bytes: number): void;
}

/** The engine's own functions: internal in a version that is pinned exactly. */
const rawOf = (vm: QuickJS) => vm._getExports() as unknown as RawExports;

const idle: EngineHost = { nowMs: 0, print: () => undefined, report: () => undefined, call: () => '', poll: () => undefined };

/** @param canReset the engine has no state but what is put back: else each program has an engine that is made for it */
export function createEngines(module: WebAssembly.Module, memoryBytes: number, canReset: boolean): ScriptEngines {
  let ready: Made | null = null;
  /** By the one that is kept. */
  let served = 0;
  let seed: Span | null | undefined;

  async function make(): Promise<Made> {
    const made = await makeEngine(module, memoryBytes, 1);
    // Of two that were made at different times, what differs is what the time seeds.
    seed ??= canReset ? seedOf(made, await makeEngine(module, memoryBytes, 2 ** 40 + 12_345)) : null;
    return { ...made, first: { ...made.first, seed } };
  }

  return {
    async take(host, stackBytes) {
      if (ready === null) served = 0;
      const engine = ready ?? (await make());
      ready = null;
      served += 1;
      const own = engine.first.seed;
      if (own !== null) crypto.getRandomValues(new Uint8Array(engine.memory.buffer, own.at, own.bytes));
      engine.serve(host);
      rawOf(engine.vm).qjs_set_max_stack_size(stackBytes);
      return engine;
    },
    giveBack(given, isWhole) {
      const engine = given as Made; // take() gives no other
      engine.serve(idle);
      if (isWhole && ready === null && served < maxPrograms && reset(engine)) ready = engine;
      else engine.vm.dispose();
    },
  };
}

/** False when it cannot be put back: it has grown, or is none that may. */
function reset({ vm, memory, first, tableLength }: Made): boolean {
  const raw = rawOf(vm);
  if (first.seed === null || memory.buffer.byteLength !== first.memory.byteLength || raw.__indirect_function_table.length !== tableLength)
    return false;
  new Uint8Array(memory.buffer).set(first.memory);
  raw.__stack_pointer.value = first.stackPointer;
  return true;
}

async function makeEngine(module: WebAssembly.Module, memoryBytes: number, madeAtMs: number): Promise<Made> {
  let host: EngineHost = { ...idle, nowMs: madeAtMs };
  const vm = await QuickJS.create({
    wasm: module,
    memoryLimit: memoryBytes,
    timezoneOffset: 0,
    wasi: (memory: WebAssembly.Memory) => frozenWorld(memory, () => host.nowMs),
    interruptHandler: () => {
      host.poll();
      return false;
    },
  });
  const print = vm.newFunction('print', (text) => {
    host.print(text);
    return vm.undefined;
  });
  const report = vm.newFunction('report', (kind, text) => {
    host.report(kind, text);
    return vm.undefined;
  });
  /** The library keeps what a function of the host gives until it is disposed of: the room would be the program's. */
  let answered: JSValueHandle | undefined;
  const call = vm.newFunction('call', (name, input) => {
    const answer = host.call(name, input);
    answered?.dispose();
    answered = typeof answer === 'number' ? vm.newNumber(answer) : vm.newString(answer);
    return answered;
  });
  const functions = vm.callFunction(vm.evalCode(guestPrelude, 'prelude.js'), vm.undefined, print, report, call);
  const guest = Object.fromEntries(guestFunctions.map((name) => [name, functions.getProp(name)])) as ScriptEngine['guest']; // of these names
  vm.evalCode(`void new ArrayBuffer(${Math.floor(Math.min(roomBytes, memoryBytes * roomShare))})`, 'room.js').dispose();
  // Handles that the library makes once and keeps: they have to be part of the first state.
  for (const kept of [vm.undefined, vm.null, vm.true, vm.false, vm.global]) if (kept.disposed) throw new Error('a handle is gone');
  const memory = vm._getMemory(); // @internal in a version that is pinned exactly; there is no public way to see the size
  const raw = rawOf(vm);
  return {
    ...{ vm, memory, guest, layout: layoutOf(vm, guest, memoryBytes), tableLength: raw.__indirect_function_table.length },
    first: { memory: new Uint8Array(memory.buffer).slice(), stackPointer: raw.__stack_pointer.value, seed: null },
    serve(next) {
      host = next;
      answered = undefined; // another memory holds it, or none
    },
  };
}

/** What the handles of the host point to is where they point in each engine of the same binary, prelude and limit. */
function layoutOf(vm: QuickJS, guest: ScriptEngine['guest'], memoryBytes: number): string {
  const raw = rawOf(vm);
  const handles = [...Object.values(guest), vm.undefined];
  const pointers = [raw.qjs_get_runtime_ptr(), raw.qjs_get_context_ptr(), ...handles.map(({ ptr }) => ptr)];
  const made = [vm.versions, memoryBytes, pointers, guestPrelude];
  return createHash('sha256').update(JSON.stringify(made)).digest('hex');
}

/**
 * Null when what the time seeds is not the one short piece of the context that it should be. It is taken as it is found, byte by byte: what
 * counts the fuel lies right behind it.
 */
function seedOf(one: Made, other: Made): Span | null {
  const context = rawOf(one.vm).qjs_get_context_ptr();
  const [a, b] = [one.first.memory, other.first.memory];
  if (a.byteLength !== b.byteLength || rawOf(other.vm).qjs_get_context_ptr() !== context) return null;
  const seeded: number[] = [];
  let others = 0;
  for (let at = 0; at < a.byteLength; at++) {
    if (a[at] === b[at]) continue;
    if (at >= context && at < context + contextBytes) seeded.push(at);
    else others += 1;
  }
  const [first = 0] = seeded;
  const bytes = (seeded.at(-1) ?? -1) - first + 1;
  // Beside the seed only the guard of the stack may differ, which is random.
  return bytes > 0 && bytes <= maxSeedBytes && others <= canaryBytes ? { at: first, bytes } : null;
}

const canaryBytes = 4;
const errnoOk = 0;
const errnoBadDescriptor = 8;
const realtimeClock = 0;

/** What the engine sees of the host: clocks that stand still, random bytes, and no descriptor to write to. */
function frozenWorld(memory: WebAssembly.Memory, nowMs: () => number): Record<string, (...values: never[]) => number> {
  return {
    clock_time_get(clock: number, _precision: bigint, at: number) {
      // The monotonic one stands at the same place in all engines, so that their first states know nothing of time.
      const ms = clock === realtimeClock ? Math.trunc(nowMs()) : 0;
      new DataView(memory.buffer).setBigUint64(at, BigInt(ms) * 1_000_000n, true);
      return errnoOk;
    },
    random_get(at: number, length: number) {
      crypto.getRandomValues(new Uint8Array(memory.buffer, at, length));
      return errnoOk;
    },
    fd_write: () => errnoBadDescriptor,
    fd_close: () => errnoBadDescriptor,
    fd_fdstat_get: () => errnoBadDescriptor,
    fd_seek: () => errnoBadDescriptor,
  };
}
