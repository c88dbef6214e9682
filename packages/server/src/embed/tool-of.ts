import type { DefinedTool } from '@nexus-agent/sdk';
import { NexusError } from '#core';
import type { Tool } from '#tools';

/** A tool that was defined as a function, as the platform runs tools; one in full is what it is. */
export function toolOf(given: DefinedTool | Tool): Tool {
  if (typeof given !== 'object' || given === null || !('declared' in given)) return given;
  const { declared, run } = given;
  const { outputSchema, maxCostMicroUsd, ...rest } = declared;
  return {
    ...rest,
    ...(outputSchema === undefined ? {} : { outputSchema }),
    ...(maxCostMicroUsd === undefined ? {} : { maxCostMicroUsd }),
    source: 'program',
    tier: 'host',
    async execute(input, { idempotencyKey, runId, sessionId, traceparent, signal, onOutput }) {
      try {
        const output = await run(input, {
          ...{ callId: idempotencyKey, runId, sessionId, signal, progress: (text: string) => onOutput(`${text}`) },
          ...(traceparent === undefined ? {} : { traceparent }),
        });
        return { type: 'ok', output: output ?? null };
      } catch (error) {
        // What was told to stop says nothing of what it did.
        if (signal.aborted || error instanceof NexusError) throw error;
        const message = error instanceof Error && error.message !== '' ? error.message : `the tool ${declared.name} failed`;
        return { type: 'error', error: { code: 'tool_failed', message, retryable: false } };
      }
    },
  };
}
