import type { ErrorCode } from '@nexus-agent/protocol';
import { type Instruments, operationBuckets } from './instruments.ts';
import { closedSet, errorCodes, type LabelNames, namedSet } from './labels.ts';
import { metricNames } from './names.ts';

/** A call of a tool that ended in this process. */
export interface ExecutedTool {
  readonly tool: string;
  readonly tier: string;
  /** As descriptors have it: a kind, and after a colon a name that somebody chose. */
  readonly source: string;
  readonly outcome: 'completed' | 'suspended' | 'failed' | 'refused';
  readonly error?: ErrorCode;
  readonly limit?: string;
  readonly queueMs: number;
  readonly runMs: number;
}

export type EgressSource = 'http_fetch' | 'http_tools' | 'mcp' | 'jail';

/** What one pool of this process has. */
export interface ThreadsInPool {
  readonly pool: 'sandbox' | 'plugins' | 'jail';
  readonly busy: number;
  readonly idle: number;
}

/** What is told of tools where they run. */
export interface ToolMetrics {
  /** A call ended; `limit` is the one that it reached. */
  toolExecuted(call: ExecutedTool): void;
  /** A connection to a server outside is closed: what it sent and received. */
  egress(traffic: { source: EgressSource; sentBytes: number; receivedBytes: number }): void;
  egressConnected(source: EgressSource): void;
  /** Pools of what tools run in; asked at each scrape. */
  observePools(read: () => readonly ThreadsInPool[]): void;
}

/** Tools that are agents have the names of agents, which tenants choose. */
const agentTool = /^agent_.*/s;

export function shownTool(name: string): string {
  return name.replace(agentTool, 'agent');
}

const sourceKind = (source: string) => source.split(':', 1)[0] ?? '';
const limitNames = 'fuel cpu memory wall stack output disk files network calls queue breaker timeout'.split(' ');

/** What is counted where tools run. */
export function countTools({ counter, gauges, histogram }: Instruments, names: LabelNames): ToolMetrics & { refreshPools(): void } {
  const kinds = {
    tier: closedSet(['host', 'T0', 'T1', 'T2', 'T3', 'remote', 'person']),
    source: closedSet(['built-in', 'program', 'http', 'mcp', 'worker', 'plugin']),
  };
  const calls = counter(metricNames.toolCalls, 'Calls of tools that ended in this process', {
    ...{ gen_ai_tool_name: namedSet((name) => name === 'agent' || names.isTool(name)), ...kinds },
    ...{ outcome: closedSet(['completed', 'suspended', 'failed', 'refused']), error_type: errorCodes },
  });
  const queued = histogram(metricNames.toolQueue, 'How long calls of tools waited for their turns', operationBuckets, kinds);
  const ran = histogram(metricNames.toolRun, 'How long calls of tools ran', operationBuckets, kinds);
  const limits = counter(metricNames.toolLimits, 'Limits that calls of tools reached', { limit: closedSet(limitNames) });
  const bytes = counter(metricNames.egressBytes, 'Bytes between tools and servers outside', {
    source: closedSet(['http_fetch', 'http_tools', 'jail', 'mcp']),
    direction: closedSet(['sent', 'received']),
  });
  const connections = counter(metricNames.egressConnections, 'Connections of tools to servers outside', {
    source: closedSet(['http_fetch', 'http_tools', 'jail', 'mcp']),
  });
  const pools = gauges(metricNames.poolSize, 'Threads and jails that tools run in', {
    pool: closedSet(['sandbox', 'plugins', 'jail']),
    state: closedSet(['busy', 'idle']),
  });
  let readPools: () => readonly ThreadsInPool[] = () => [];
  return {
    toolExecuted({ tool, tier, source, outcome, error = '', limit, queueMs, runMs }) {
      const where = { tier, source: sourceKind(source) };
      calls.inc({ gen_ai_tool_name: shownTool(tool), ...where, outcome, error_type: error });
      queued.observe(where, queueMs / 1000);
      if (outcome !== 'refused') ran.observe(where, runMs / 1000);
      if (limit !== undefined) limits.inc({ limit });
    },
    egress({ source, sentBytes, receivedBytes }) {
      bytes.inc({ source, direction: 'sent' }, sentBytes);
      bytes.inc({ source, direction: 'received' }, receivedBytes);
    },
    egressConnected: (source) => connections.inc({ source }),
    observePools(read) {
      readPools = read;
    },
    refreshPools() {
      for (const { pool, busy, idle } of readPools()) {
        pools.set({ pool, state: 'busy' }, busy);
        pools.set({ pool, state: 'idle' }, idle);
      }
    },
  };
}
