import { NexusError } from '#core';
import type { Tool } from '#tools/contract';

/** `wait`: the run sleeps, in no process, until a time. The engine sees to it; nothing is executed here. */
export function createWaitTool(): Tool {
  return {
    name: 'wait',
    description:
      'Waits before the next step: for so many seconds, or until a time. Other calls of the same step go on meanwhile. Give exactly one of both.',
    inputSchema: {
      type: 'object',
      properties: {
        seconds: { type: 'number', minimum: 0, description: 'How long to wait' },
        until: { type: 'string', maxLength: 40, description: 'A time with its zone, such as 2026-05-31T08:00:00Z' },
      },
      additionalProperties: false,
    },
    effects: 'none',
    source: 'built-in',
    tier: 'host',
    permissions: [],
    timeoutMs: 1_000,
    kind: 'timer',
    execute: () => Promise.reject(new NexusError('tool_failed', 'the engine of runs makes a run wait; it cannot be executed')),
  };
}
