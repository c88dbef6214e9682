import { open } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type * as CedarModule from '@cedar-policy/cedar-wasm/nodejs';
import type { Policy } from '@cedar-policy/cedar-wasm/nodejs';
import { createPool } from './pool.ts';

export type Cedar = typeof CedarModule;

/** Parsed policies kept in WebAssembly memory, over all engines of this thread. */
const maxPreparedPolicies = 10_000;
const maxPreparedSets = 512;

let loaded: CedarRuntime | undefined;

export interface CedarRuntime {
  readonly cedar: Cedar;
  /** The id under which Cedar holds this set, parsing it when it is not held. `key` must be a hash of the policies. */
  preparedSet(key: string, policies: () => Record<string, Policy>): string;
}

/**
 * Loads Cedar ahead of the first question: it is read and compiled off this thread, which takes tens of milliseconds when whoever asks
 * first has to wait for it. Rejects when it cannot be; questions then try by themselves, and are denied when they cannot either.
 */
export async function warmCedar(readWasm: () => Promise<Buffer<ArrayBuffer>> = readCedar): Promise<void> {
  if (loaded !== undefined) return;
  const [module, glue] = await Promise.all([readWasm().then(compileAside), import('@cedar-policy/cedar-wasm/web')]);
  if (loaded !== undefined) return; // a question was faster
  glue.initSync({ module });
  loaded = runtimeOf(glue as unknown as Cedar); // the same functions over another way of loading them
}

function compileAside(bytes: Buffer<ArrayBuffer>): Promise<WebAssembly.Module> {
  // The types of Node leave out what compiles on another thread.
  return (WebAssembly as unknown as { compile(bytes: Buffer): Promise<WebAssembly.Module> }).compile(bytes);
}

/** The whole file at once: read piece by piece it costs several times as much. */
async function readCedar(): Promise<Buffer<ArrayBuffer>> {
  const file = await open(
    createRequire(import.meta.url)
      .resolve(name)
      .replace(/\.js$/, '_bg.wasm'),
  );
  try {
    const { size } = await file.stat();
    const bytes = Buffer.allocUnsafeSlow(size);
    const { bytesRead } = await file.read(bytes, 0, size, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/**
 * Cedar, loaded by the first question when nothing has loaded it before: it takes some ten megabytes. Its parsed sets live in the memory of the WebAssembly
 * instance, one per thread, so the pools that bound them do too.
 */
export function cedarRuntime(): CedarRuntime {
  loaded ??= runtimeOf(load());
  return loaded;
}

function runtimeOf(instance: Cedar): CedarRuntime {
  const cedar = forgottenWhenBroken(instance);
  const sets = createPool<Record<string, Policy>>({
    maxEntries: maxPreparedSets,
    maxWeight: maxPreparedPolicies,
    weigh: (policies) => Object.keys(policies).length,
    fill: (id, policies) => expectSuccess(cedar.preparsePolicySet(id, { staticPolicies: policies })),
    empty: (id) => expectSuccess(cedar.preparsePolicySet(id, { staticPolicies: {} })),
  });
  return { cedar, preparedSet: sets.get };
}

/** Errors of WebAssembly itself, and of the stack that it shares with everything else. */
const traps: ReadonlySet<string> = new Set(['RuntimeError', 'RangeError']);

/** Each is passed on what it is given. */
type Called = (...given: unknown[]) => unknown;

const name = '@cedar-policy/cedar-wasm/nodejs';

function load(): Cedar {
  // require() loads synchronously, so that a decision never has to wait; the module is what its own types say.
  return createRequire(import.meta.url)(name) as Cedar;
}

/**
 * An instance that has trapped cannot be used any more: its stack stays where it was, so that every later question would fail as well,
 * whoever asks. The next one is put to another instance.
 */
function forgottenWhenBroken(instance: Cedar): Cedar {
  const guarded =
    (call: Called) =>
    (...given: unknown[]) => {
      try {
        return call(...given);
      } catch (error) {
        if (error instanceof Error && traps.has(error.name)) forget();
        throw error;
      }
    };
  const members = Object.entries(instance).map(([member, value]) => [
    member,
    typeof value === 'function' ? guarded(value as Called) : value,
  ]);
  return Object.fromEntries(members) as Cedar; // the same functions
}

function forget(): void {
  loaded = undefined;
  const { cache, resolve } = createRequire(import.meta.url);
  delete cache[resolve(name)];
}

function expectSuccess(answer: CedarModule.CheckParseAnswer): void {
  if (answer.type === 'failure') throw new Error(answer.errors.map((error) => error.message).join('; '));
}
