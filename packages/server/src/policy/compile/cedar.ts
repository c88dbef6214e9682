import { createRequire } from 'node:module';
import type * as CedarModule from '@cedar-policy/cedar-wasm/nodejs';
import { createPool } from './pool.ts';

export type Cedar = typeof CedarModule;

/** Parsed policies kept in WebAssembly memory, over all engines of this thread. */
const maxPreparedPolicies = 10_000;
const maxPreparedSets = 512;
const maxPreparedSchemas = 8;

let loaded: CedarRuntime | undefined;

export interface CedarRuntime {
  readonly cedar: Cedar;
  /** The id under which Cedar holds this set, parsing it when it is not held. `key` must be a hash of the policies. */
  preparedSet(key: string, policies: () => Record<string, string>): string;
  /** The same for a schema. */
  preparedSchema(key: string, text: string): string;
}

/**
 * Cedar, loaded when it is first needed: it takes tens of megabytes. Its parsed sets live in the memory of the WebAssembly
 * instance, one per thread, so the pools that bound them do too.
 */
export function cedarRuntime(): CedarRuntime {
  if (loaded !== undefined) return loaded;
  const cedar = forgottenWhenBroken(load());
  const sets = createPool<Record<string, string>>({
    maxEntries: maxPreparedSets,
    maxWeight: maxPreparedPolicies,
    weigh: (policies) => Object.keys(policies).length,
    fill: (id, policies) => expectSuccess(cedar.preparsePolicySet(id, { staticPolicies: policies })),
    empty: (id) => expectSuccess(cedar.preparsePolicySet(id, { staticPolicies: {} })),
  });
  const schemas = createPool<string>({
    maxEntries: maxPreparedSchemas,
    maxWeight: maxPreparedSchemas,
    weigh: () => 1,
    fill: (id, text) => expectSuccess(cedar.preparseSchema(id, text)),
    empty: (id) => expectSuccess(cedar.preparseSchema(id, '')),
  });
  loaded = { cedar, preparedSet: sets.get, preparedSchema: (key, text) => schemas.get(key, () => text) };
  return loaded;
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
