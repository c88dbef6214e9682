/** The parts of the sandbox that run WebAssembly modules. */
export type { WasmGrants, WasmLimits } from './messages.ts';
export type { WasmHostCalls, WasmModule, WasmSandbox } from './types.ts';
export { createWasmSandbox } from './wasm-sandbox.ts';
