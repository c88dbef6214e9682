import type { ErrorCode, PolicyAction } from '@nexus-agent/protocol';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { type Clock, systemClock } from '#core';
import { metricNames, operations } from './names.ts';
import { type BuildInfo, registerBuildInfo, registerProcessMetrics } from './process-metrics.ts';
import { type ObservedStore, registerStoreMetrics } from './store-metrics.ts';

/** What the system counts. No label carries the id of a run, session or tenant; open sets of names are bounded. */
export interface Metrics {
  runStarted(): void;
  runFinished(run: { status: 'completed' | 'failed' | 'cancelled'; durationMs: number; error?: ErrorCode }): void;
  /** A run entered (+1) or left (-1) this process; waiting runs are in none. */
  runLive(change: 1 | -1): void;
  /** A run was taken over from a worker that stopped, so long after the lease of that one had ended, where that is known. */
  runRecovered(durationMs?: number): void;
  modelCompleted(call: {
    provider: string;
    model: string;
    durationMs: number;
    timeToFirstTokenMs?: number;
    inputTokens?: number;
    outputTokens?: number;
    costMicroUsd?: number;
    error?: ErrorCode;
  }): void;
  toolCompleted(call: { tool: string; durationMs: number; error?: ErrorCode }): void;
  budgetOperation(operation: 'reserved' | 'refused' | 'settled' | 'released' | 'expired'): void;
  policyDecision(action: PolicyAction, effect: 'allow' | 'deny' | 'require_approval'): void;
  /** What the database says of the work of all processes and tenants, and the connections to it; asked at each scrape. */
  observeStore(store: ObservedStore): void;
  approvalDecided(decision: string): void;
  streamOpened(): void;
  streamClosed(stream: { outcome: 'completed' | 'disconnected' | 'lagged' | 'shutdown' | 'failed'; durationMs: number }): void;
  streamEvents(count: number): void;
  connectionOpened(): void;
  connectionClosed(): void;
  /** A request that was not let in, by the code of its error. */
  requestRefused(error: ErrorCode): void;
  /** Rows, or sessions, that were deleted because they are no longer kept. */
  retentionDeleted(kind: string, count: number): void;
  requestCompleted(request: { method: string; route: string; status: number; durationMs: number }): void;
  /** All metrics in Prometheus text format. */
  scrape(): Promise<{ contentType: string; body: string }>;
  /** Stops watching the event loop. */
  close(): void;
}

const fastBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** As the conventions advise: 10 ms doubling up to 82 s. */
const operationBuckets = Array.from({ length: 14 }, (_, index) => 0.01 * 2 ** index);
const tokenBuckets = Array.from({ length: 14 }, (_, index) => 4 ** index);
const recoveryBuckets = [0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60];
const runBuckets = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];

export function createMetrics(clock: Clock = systemClock, build: BuildInfo = { version: '', database: '' }): Metrics {
  const registry = new Registry();
  registerBuildInfo(registry, build);
  const instruments = createInstruments(registry);
  const eventLoop = registerProcessMetrics(registry, clock);
  let readStore = async (): Promise<void> => undefined;
  return {
    ...countRuns(instruments),
    ...countModelCalls(instruments),
    ...countToolCalls(instruments),
    ...countDecisions(instruments),
    ...countStreams(instruments),
    ...countRequests(instruments),
    ...countConnections(instruments),
    ...countRetention(instruments),
    observeStore(store) {
      readStore = registerStoreMetrics(registry, store, clock);
    },
    async scrape() {
      await readStore();
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
    close: () => eventLoop.stop(),
  };
}

type Instruments = ReturnType<typeof createInstruments>;

function createInstruments(registry: Registry) {
  const registers = [registry];
  return {
    counter: <Label extends string>(name: string, help: string, labelNames: Label[] = []) =>
      new Counter({ name, help, labelNames, registers }),
    gauge: (name: string, help: string) => new Gauge({ name, help, registers }),
    histogram: <Label extends string>(name: string, help: string, buckets: number[], labelNames: Label[] = []) =>
      new Histogram({ name, help, buckets, labelNames, registers }),
  };
}

function countRuns({ counter, gauge, histogram }: Instruments): Pick<Metrics, 'runStarted' | 'runFinished' | 'runLive' | 'runRecovered'> {
  const started = counter(metricNames.runsStarted, 'Runs started');
  const finished = counter(metricNames.runsFinished, 'Runs finished, by how', ['status', 'error_type']);
  const recovered = counter(metricNames.runsRecovered, 'Runs taken over from a worker that stopped');
  const recovery = histogram(metricNames.recoveryDuration, 'From the end of a lost lease until its run goes on', recoveryBuckets);
  const live = gauge(metricNames.runsLive, 'Runs that this process works on');
  const duration = histogram(metricNames.runDuration, 'From start to end of a run, waiting included', runBuckets, ['status']);
  return {
    runStarted: () => started.inc(),
    runFinished({ status, durationMs, error }) {
      finished.inc({ status, error_type: error ?? '' });
      duration.observe({ status }, durationMs / 1000);
    },
    runLive: (change) => live.inc(change),
    runRecovered(durationMs) {
      recovered.inc();
      if (durationMs !== undefined) recovery.observe(Math.max(0, durationMs) / 1000);
    },
  };
}

function countModelCalls({ counter, histogram }: Instruments): Pick<Metrics, 'modelCompleted'> {
  const labelNames = ['gen_ai_operation_name', 'gen_ai_provider_name', 'gen_ai_request_model'] as const;
  const duration = histogram(metricNames.modelDuration, 'Duration of model calls', operationBuckets, [...labelNames, 'error_type']);
  const timeToFirstChunk = histogram(metricNames.timeToFirstChunk, 'Time to the first part of an answer', operationBuckets, [
    ...labelNames,
  ]);
  const tokenUsage = histogram(metricNames.tokenUsage, 'Tokens per model call', tokenBuckets, [...labelNames, 'gen_ai_token_type']);
  const cost = counter(metricNames.modelCost, 'Cost of model calls in millionths of a US dollar', [...labelNames]);
  const providers = createBoundedLabel();
  const models = createBoundedLabel();
  return {
    modelCompleted(call) {
      const labels = {
        gen_ai_operation_name: operations.model,
        gen_ai_provider_name: providers(call.provider),
        gen_ai_request_model: models(call.model),
      };
      duration.observe({ ...labels, error_type: call.error ?? '' }, call.durationMs / 1000);
      if (call.timeToFirstTokenMs !== undefined) timeToFirstChunk.observe(labels, call.timeToFirstTokenMs / 1000);
      if (call.inputTokens !== undefined) tokenUsage.observe({ ...labels, gen_ai_token_type: 'input' }, call.inputTokens);
      if (call.outputTokens !== undefined) tokenUsage.observe({ ...labels, gen_ai_token_type: 'output' }, call.outputTokens);
      if (call.costMicroUsd !== undefined) cost.inc(labels, call.costMicroUsd);
    },
  };
}

function countToolCalls({ histogram }: Instruments): Pick<Metrics, 'toolCompleted'> {
  const duration = histogram(metricNames.toolDuration, 'Duration of tool calls', operationBuckets, ['gen_ai_tool_name', 'error_type']);
  const tools = createBoundedLabel();
  return {
    toolCompleted: ({ tool, durationMs, error }) =>
      duration.observe({ gen_ai_tool_name: tools(tool), error_type: error ?? '' }, durationMs / 1000),
  };
}

function countDecisions({ counter }: Instruments): Pick<Metrics, 'budgetOperation' | 'policyDecision' | 'approvalDecided'> {
  const budgetOperations = counter(metricNames.budgetOperations, 'Reservations by what became of them', ['operation']);
  const policyDecisions = counter(metricNames.policyDecisions, 'Policy decisions', ['action', 'effect']);
  const approvalsDecided = counter(metricNames.approvalsDecided, 'Approvals answered or expired', ['decision']);
  return {
    budgetOperation: (operation) => budgetOperations.inc({ operation }),
    policyDecision: (action, effect) => policyDecisions.inc({ action, effect }),
    approvalDecided: (decision) => approvalsDecided.inc({ decision }),
  };
}

function countStreams({ counter, gauge, histogram }: Instruments): Pick<Metrics, 'streamOpened' | 'streamClosed' | 'streamEvents'> {
  const open = gauge(metricNames.streamsOpen, 'Streams open to subscribers');
  const closed = counter(metricNames.streamsClosed, 'Streams closed, by why', ['outcome']);
  const duration = histogram(metricNames.streamDuration, 'How long streams were open', runBuckets);
  const events = counter(metricNames.streamEvents, 'Events written to streams');
  return {
    streamOpened: () => open.inc(),
    streamClosed({ outcome, durationMs }) {
      open.dec();
      closed.inc({ outcome });
      duration.observe(durationMs / 1000);
    },
    streamEvents: (count) => events.inc(count),
  };
}

function countConnections({ counter, gauge }: Instruments): Pick<Metrics, 'connectionOpened' | 'connectionClosed' | 'requestRefused'> {
  const connections = gauge(metricNames.httpConnections, 'Connections of clients, streams among them');
  const refused = counter(metricNames.authFailures, 'Requests that were not let in, by why', ['error_type']);
  return {
    connectionOpened: () => connections.inc(),
    connectionClosed: () => connections.dec(),
    requestRefused: (error) => refused.inc({ error_type: error }),
  };
}

function countRetention({ counter }: Instruments): Pick<Metrics, 'retentionDeleted'> {
  const deleted = counter(metricNames.retentionDeleted, 'What was deleted because it is no longer kept', ['kind']);
  return { retentionDeleted: (kind, count) => deleted.inc({ kind }, count) };
}

function countRequests({ histogram }: Instruments): Pick<Metrics, 'requestCompleted'> {
  const duration = histogram(metricNames.requestDuration, 'Duration of HTTP requests other than streams', fastBuckets, [
    'http_request_method',
    'http_route',
    'http_response_status_code',
  ]);
  const routes = createBoundedLabel();
  return {
    requestCompleted({ method, route, status, durationMs }) {
      const labels = { http_request_method: method, http_route: routes(route), http_response_status_code: String(status) };
      duration.observe(labels, durationMs / 1000);
    },
  };
}

/** Distinct values of a label whose names come from configuration or users; later ones are counted as `other`. */
const maxLabelValues = 100;

function createBoundedLabel(): (value: string) => string {
  const seen = new Set<string>();
  return (value) => {
    if (seen.has(value)) return value;
    if (seen.size >= maxLabelValues) return 'other';
    seen.add(value);
    return value;
  };
}
