/** The door of the sandbox: code of strangers under limits. */
export { createJail } from './jail/jail.ts';
export {
  type Defence,
  defences,
  type Jail,
  type JailDriver,
  type JailEnd,
  type JailedProcess,
  type JailLimits,
  type JailRequest,
} from './jail/types.ts';
export { createSandbox } from './sandbox.ts';
export type { CallResult, ProgramResult, Sandbox, SandboxRequest, WantedCall } from './types.ts';
export {
  createWasmSandbox,
  type OpenedPath,
  type WasmGrants,
  type WasmHostCalls,
  type WasmModule,
  type WasmSandbox,
} from './wasm/index.ts';
