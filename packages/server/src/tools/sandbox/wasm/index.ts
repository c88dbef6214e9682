/** The parts of the sandbox that run WebAssembly modules. */
export type { WasmGrants } from './messages.ts';
export type { OpenedPath, WasmHostCalls, WasmModule, WasmSandbox } from './types.ts';
export { createWasmSandbox } from './wasm-sandbox.ts';
