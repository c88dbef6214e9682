import type { ErrorInfo } from '@nexus-agent/protocol';
import { limitExceeded, type SandboxLimit } from '../limit-error.ts';
import { ModuleRefused } from './binary.ts';
import { confineModule, MemoryRefused, ownExports } from './confine.ts';
import { FileTable } from './descriptors.ts';
import { ByteSink, GuestExit, GuestMemory, isStackSpent } from './guest-memory.ts';
import type { CompiledModule, HostAnswer, HostQuestion, WasmEnd, WasmJob, WasmLimits } from './messages.ts';
import { createNexusCalls, grantFor } from './nexus-calls.ts';
import { createWasi, type WasiWorld } from './wasi.ts';
import { createWasiFiles } from './wasi-files.ts';

/** What the thread gives a module to work with. */
export interface ModuleSurroundings {
  readonly ask: (question: HostQuestion) => HostAnswer;
  readonly log: (text: string) => void;
  readonly onCompiled: (compiled: CompiledModule) => void;
  readonly clock: WasiWorld['clock'];
  readonly pause: (ms: number) => void;
}

const pageBytes = 64 * 1024;
const maxTableEntries = 100_000;
const maxToldBytes = 1_000;
const maxLogs = 1_000;

/** A limit that a host function saw reached; no code of the module can catch it. */
class LimitReached extends Error {
  readonly limit: SandboxLimit;
  constructor(limit: SandboxLimit, message: string) {
    super(message);
    this.limit = limit;
  }
}

/** A module that cannot be run as it is: what it lacks or wants. */
class Unfit extends Error {}

/** Puts its limits into a module and compiles it. Throws what {@link runModule} explains. */
function compile(bytes: Uint8Array, limits: WasmLimits): CompiledModule {
  const confined = confineModule(bytes, { maxPages: Math.floor(limits.memoryBytes / pageBytes), maxTableEntries, fuel: limits.fuel });
  return { module: new WebAssembly.Module(confined.bytes), importedPages: confined.importedPages };
}

/** Runs a module for one call, in this thread, to its end. Never throws. */
export function runModule(job: WasmJob, surroundings: ModuleSurroundings): WasmEnd {
  const run = new ModuleRun(job, surroundings);
  try {
    const value = run.toEnd();
    return { ...run.facts(), result: { type: 'ok', value, writes: run.files.writes() } };
  } catch (error) {
    return { ...run.facts(), result: { type: 'error', error: run.explain(error) } };
  }
}

class ModuleRun {
  readonly files: FileTable;
  readonly #job: WasmJob;
  readonly #surroundings: ModuleSurroundings;
  readonly #memory = new GuestMemory();
  readonly #output = new ByteSink();
  readonly #errors = new ByteSink();
  readonly #input: Uint8Array;
  #inputAt = 0;
  #hostCalls = 0;
  #logs = 0;
  #exports: Readonly<Record<string, unknown>> = {};

  constructor(job: WasmJob, surroundings: ModuleSurroundings) {
    this.#job = job;
    this.#surroundings = surroundings;
    this.#input = new TextEncoder().encode(job.input);
    const { maxFileBytes } = job.limits;
    this.files = new FileTable({
      grant: job.grants.files,
      maxFileBytes,
      ask: (question) => this.#ask(question),
      onTooMuch: () => {
        throw new LimitReached('files', `the module may hold ${maxFileBytes} bytes of files and 64 open ones`);
      },
    });
  }

  /** What it gave, as JSON. */
  toEnd(): string {
    const { code, limits, entry } = this.#job;
    const compiled = code instanceof Uint8Array ? compile(code, limits) : code;
    if (compiled !== code) this.#surroundings.onCompiled(compiled);
    const instance = new WebAssembly.Instance(compiled.module, this.#imports(compiled));
    this.#exports = instance.exports;
    const { memory } = instance.exports;
    if (memory instanceof WebAssembly.Memory) this.#memory.attach(memory);
    const run = entry ?? '_start';
    this.#requireEntry(run);
    if (this.#job.isCheck) return 'null';
    this.#call(ownExports.start);
    // A module that is called by its functions has to be set up first; a program does so itself.
    if (run !== '_start') this.#call('_initialize');
    this.#call(run);
    return this.#answer();
  }

  facts(): { readonly fuelUsed: number; readonly memoryBytes: number } {
    const left = this.#global(ownExports.fuel);
    return { fuelUsed: left === null ? 0 : this.#job.limits.fuel - Math.max(0, left), memoryBytes: this.#memory.size };
  }

  explain(error: unknown): ErrorInfo {
    const { limits } = this.#job;
    if (error instanceof LimitReached) return limitExceeded(error.limit, error.message);
    if (error instanceof MemoryRefused) return limitExceeded('memory', `the module cannot run: ${error.message}`);
    if (error instanceof ModuleRefused || error instanceof WebAssembly.CompileError)
      return codeError(`this is no module that can run: ${error.message}`);
    if (error instanceof Unfit || error instanceof WebAssembly.LinkError) return codeError(error.message);
    if ((this.#global(ownExports.fuel) ?? 0) < 0) return limitExceeded('fuel', `the module used up its ${limits.fuel} units of fuel`);
    if (this.#global(ownExports.refused) === 1)
      return limitExceeded(
        'memory',
        `the module wanted more than the ${limits.memoryBytes} bytes of memory, or the table entries, that it may have`,
      );
    if (isStackSpent(error)) return limitExceeded('stack', 'the module called itself too deeply');
    if (error instanceof GuestExit) return codeError(`the module ended with code ${error.code}${this.#printed()}`);
    const why = error instanceof Error ? error.message.slice(0, 200) : 'it failed';
    return codeError(`the module trapped: ${why}${this.#printed()}`);
  }

  #imports({ module, importedPages }: CompiledModule): Record<string, Record<string, unknown>> {
    const { grants, name, limits } = this.#job;
    const { log, clock, pause } = this.#surroundings;
    const streams = {
      write: (stream: 1 | 2, bytes: Uint8Array) => this.#print(stream, bytes),
      read: (length: number) => this.#read(length),
    };
    const given: Record<string, Record<string, unknown>> = {
      wasi_snapshot_preview1: createWasi(this.#memory, { name, grants, clock, pause }, createWasiFiles(this.#memory, this.files, streams)),
      nexus: createNexusCalls(this.#memory, {
        grants,
        input: this.#input,
        streams,
        ask: (question) => this.#ask(question),
        log: (text) => {
          this.#logs += 1;
          if (this.#logs <= maxLogs) log(text);
        },
      }),
      // AssemblyScript ends with it what cannot go on.
      env: {
        abort: () => {
          throw new Unfit('the module called abort');
        },
      },
    };
    const imports = new Map<string, Record<string, unknown>>();
    for (const wanted of WebAssembly.Module.imports(module)) {
      const from = Object.hasOwn(given, wanted.module) ? given[wanted.module] : undefined;
      let found: unknown;
      if (wanted.kind === 'memory') {
        const memory = new WebAssembly.Memory({ initial: importedPages ?? 0, maximum: Math.floor(limits.memoryBytes / pageBytes) });
        this.#memory.attach(memory);
        found = memory;
      } else if (from !== undefined && Object.hasOwn(from, wanted.name)) found = from[wanted.name];
      else throw new Unfit(notGiven(wanted.module, wanted.name));
      imports.set(wanted.module, { ...imports.get(wanted.module), [wanted.name]: found });
    }
    return Object.fromEntries(imports);
  }

  #requireEntry(name: string): void {
    const entry = Object.hasOwn(this.#exports, name) ? this.#exports[name] : undefined;
    if (typeof entry === 'function' && entry.length === 0) return;
    const wanted = typeof entry === 'function' ? 'that takes arguments' : '';
    throw new Unfit(`the module has ${entry === undefined ? 'no' : 'a'} function ${JSON.stringify(name.slice(0, 100))} ${wanted}`.trim());
  }

  /** A function of the module without arguments, if it is there. What it returns other than 0 is a failure, as of a program. */
  #call(name: string): void {
    const entry = Object.hasOwn(this.#exports, name) ? this.#exports[name] : undefined;
    if (typeof entry !== 'function') return;
    let result: unknown;
    try {
      result = entry();
    } catch (error) {
      if (error instanceof GuestExit && error.code === 0) return;
      throw error;
    }
    if (typeof result === 'number' && result !== 0) throw new GuestExit(result);
  }

  #answer(): string {
    const bytes = this.#output.view();
    if (bytes.length === 0) throw new Unfit(`the module gave no result; it has to print one JSON value${this.#printed()}`);
    try {
      const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
      JSON.parse(text);
      return text;
    } catch {
      throw new Unfit(`what the module printed is no JSON: ${JSON.stringify(new TextDecoder().decode(bytes.subarray(0, 200)))}`);
    }
  }

  #print(stream: 1 | 2, bytes: Uint8Array): void {
    const { maxOutputBytes } = this.#job.limits;
    if (this.#output.length + this.#errors.length + bytes.length > maxOutputBytes)
      throw new LimitReached('output', `the module may print ${maxOutputBytes} bytes`);
    const sink = stream === 1 ? this.#output : this.#errors;
    sink.write(sink.length, bytes);
  }

  #read(length: number): Uint8Array {
    const part = this.#input.subarray(this.#inputAt, this.#inputAt + length);
    this.#inputAt += part.length;
    return part;
  }

  #ask(question: HostQuestion): HostAnswer {
    this.#hostCalls += 1;
    const { maxHostCalls } = this.#job.limits;
    if (this.#hostCalls > maxHostCalls) {
      const limit = question.kind === 'fetch' ? 'network' : 'files';
      throw new LimitReached(limit, `the module may ask for files and pages ${maxHostCalls} times`);
    }
    return this.#surroundings.ask(question);
  }

  #printed(): string {
    if (this.#errors.length === 0) return '';
    const end = this.#errors.view(Math.max(0, this.#errors.length - maxToldBytes));
    return `; it printed: ${new TextDecoder().decode(end).trim()}`;
  }

  #global(name: string): number | null {
    const found = Object.hasOwn(this.#exports, name) ? this.#exports[name] : undefined;
    return found instanceof WebAssembly.Global ? Number(found.value) : null;
  }
}

function notGiven(module: string, name: string): string {
  const shown = JSON.stringify(`${module}.${name}`.slice(0, 100));
  const grant = module === 'nexus' ? grantFor(name) : null;
  if (grant !== null) return `the module imports ${shown}, which is not granted: it needs the permission ${grant}`;
  return `the module imports ${shown}, which there is not; there are WASI preview 1 and the functions of "nexus"`;
}

function codeError(message: string): ErrorInfo {
  return { code: 'sandbox_code_error', message, retryable: false };
}
