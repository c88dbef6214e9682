import { type EffectsClass, ErrorInfo, WorkerTool } from '@nexus-agent/protocol';
import { z } from 'zod';
import type { ToolResult } from '#tools/contract';

/** How a call for a worker ended, as it is kept. */
export const WorkerAnswer = z.discriminatedUnion('type', [
  z.object({ type: z.literal('completed'), output: z.unknown(), costMicroUsd: z.int().min(0).optional() }),
  z.object({ type: z.literal('failed'), error: ErrorInfo }),
  /** A worker was cut off while it did it. */
  z.object({ type: z.literal('stopped'), message: z.string() }),
  /** No worker did it, as far as is known: another attempt begins it anew. */
  z.object({ type: z.literal('void'), error: ErrorInfo }),
]);
export type WorkerAnswer = z.infer<typeof WorkerAnswer>;

/** What is kept of a pool: the tools that its workers serve. */
export const PoolContent = z.object({ hash: z.string(), waitMs: z.int(), tools: z.array(WorkerTool) });
export type PoolContent = z.infer<typeof PoolContent>;

/** What became of a call, for who waits for it. */
export function resultOf(answer: unknown, { tool, effects }: { readonly tool: string; readonly effects: EffectsClass }): ToolResult {
  const parsed = WorkerAnswer.safeParse(answer);
  if (!parsed.success)
    return { type: 'error', error: { code: 'tool_failed', message: 'the answer of the worker cannot be read', retryable: false } };
  if (parsed.data.type === 'stopped') {
    const { message } = parsed.data;
    if (effects !== 'once') return { type: 'error', error: { code: 'tool_timeout', message, retryable: false } };
    const unknown = `${message}; whether ${tool} took effect is not known`;
    return {
      type: 'error',
      error: { code: 'tool_outcome_unknown', message: unknown, retryable: false, details: { cause: 'tool_timeout' } },
    };
  }
  if (parsed.data.type !== 'completed') return { type: 'error', error: parsed.data.error };
  const { output = null, costMicroUsd } = parsed.data;
  return { type: 'ok', output, ...(costMicroUsd === undefined ? {} : { costMicroUsd }) };
}

/** The queue of a pool: workers of another set of tools do not serve it. */
export function queueOf(pool: string, hash: string): string {
  return `${pool}@${hash}`;
}
