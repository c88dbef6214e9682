/** For tests of modules: text of WebAssembly made into modules, and a host that grants nothing. */
import { readFileSync } from 'node:fs';
import wabt from 'wabt';
import { NexusError, sha256 } from '#core';
import type { WasmRequest } from './types.ts';

const compiler = wabt();

export function moduleOf(bytes: Uint8Array<ArrayBuffer>): { readonly sha256: string; readonly bytes: Uint8Array<ArrayBuffer> } {
  return { sha256: sha256(Buffer.from(bytes).toString('base64')), bytes };
}

/** A module from its text. What is not checked here is for the sandbox to refuse. */
export async function wat(text: string, features: Record<string, boolean> = {}): Promise<ReturnType<typeof moduleOf>> {
  const parsed = (await compiler).parseWat('test.wat', text, {
    bulk_memory: true,
    reference_types: true,
    simd: true,
    tail_call: true,
    ...features,
  });
  try {
    return moduleOf(Uint8Array.from(parsed.toBinary({}).buffer));
  } finally {
    parsed.destroy();
  }
}

/** A program that does `body`, with a memory, and may print what lies at an address. */
export function program(body: string, more = '', memory = '(memory (export "memory") 1)'): Promise<ReturnType<typeof moduleOf>> {
  return wat(`(module
    (import "nexus" "output_write" (func $print (param i32 i32) (result i32)))
    (import "nexus" "input_read" (func $input (param i32 i32) (result i32)))
    ${more.split('\n;; after imports\n')[0] ?? ''}
    ${memory}
    (data (i32.const 0) "{\\"ok\\":true}")
    ${more.split('\n;; after imports\n')[1] ?? ''}
    (func (export "_start") ${body}))`);
}

export const nothing: WasmRequest['grants'] = { files: 'none', http: false, clock: false, random: false };

const refuse = async () => {
  throw new NexusError('policy_denied', 'the test grants nothing');
};
export const noHost: WasmRequest['host'] = { openFile: refuse, listFolder: refuse, fetch: refuse };

/** A module that was built before, with its source beside it. */
export function fixture(name: string): ReturnType<typeof moduleOf> {
  return moduleOf(Uint8Array.from(readFileSync(new URL(`./fixtures/${name}.wasm`, import.meta.url))));
}
