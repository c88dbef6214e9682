import type { WorkerTool } from '@nexus-agent/protocol';
import type { Tool, ToolSource } from '#tools/contract';
import { createFollowedSources, type SourceHeads } from '../followed-sources.ts';
import { PoolContent } from './answer.ts';
import { type CallerParts, callWorker } from './worker-call.ts';

const maxTimeoutMs = 86_400_000;

/** A tool of a pool. Its time holds the wait for a worker and the work. */
export function poolTool(parts: CallerParts, pool: string, { hash, waitMs }: Pick<PoolContent, 'hash' | 'waitMs'>, tool: WorkerTool): Tool {
  const { name, description, inputSchema, outputSchema, effects, permissions, timeoutMs, maxCostMicroUsd } = tool;
  const target = { pool, hash, waitMs, tool: name, effects, timeoutMs };
  return {
    ...{ name, description, inputSchema, effects, permissions, source: `worker:${pool}`, tier: 'remote' },
    ...(outputSchema === undefined ? {} : { outputSchema }),
    ...(maxCostMicroUsd === undefined ? {} : { maxCostMicroUsd }),
    timeoutMs: Math.min(maxTimeoutMs, timeoutMs + waitMs),
    rejoinable: true,
    execute: (input, context) => callWorker(parts, target, input, context),
  };
}

/** The tools of the pools of a tenant, also of those to which no worker is connected. */
export function createWorkerSource(parts: CallerParts, heads: SourceHeads): ToolSource {
  const tools = createFollowedSources<Tool>({
    ...{ kind: 'worker', heads, store: parts.store },
    build(row) {
      const content = PoolContent.safeParse(row.content);
      return content.success ? content.data.tools.map((tool) => poolTool(parts, row.name, content.data, tool)) : [];
    },
  });
  return { tools };
}
