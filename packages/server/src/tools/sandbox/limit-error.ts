import type { ErrorInfo } from '@nexus-agent/protocol';

/** What a sandbox bounds, whatever its tier. */
export type SandboxLimit = 'fuel' | 'memory' | 'wall' | 'stack' | 'output' | 'cpu' | 'disk' | 'files' | 'network' | 'calls';

/** The error of code that reached a limit: `details.limit` names it, in every tier with the same words. Loaded in threads: it imports nothing. */
export function limitExceeded(limit: SandboxLimit, message: string): ErrorInfo {
  return { code: 'limit_exceeded', message, retryable: false, details: { limit } };
}
