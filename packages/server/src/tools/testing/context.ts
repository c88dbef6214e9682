import type { ToolContext } from '../types.ts';

/** A context for tests of tools: permits everything, hears nothing. */
export function makeToolContext(changes: Partial<ToolContext> = {}): ToolContext {
  return {
    tenantId: 'ten_1',
    sessionId: 'ses_1',
    runId: 'run_1',
    callId: 'call_1',
    attempt: 1,
    idempotencyKey: 'run_1/call_1',
    workspace: '/nonexistent',
    signal: new AbortController().signal,
    authorize: async () => ({ allowed: true }),
    onOutput: () => undefined,
    ...changes,
  };
}
