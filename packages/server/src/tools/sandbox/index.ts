/** The door of the sandbox: code of strangers under limits. */
export { createSandbox } from './sandbox.ts';
export type { CallResult, ProgramResult, Sandbox, SandboxRequest, WantedCall } from './types.ts';
