import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { ErrorCode, PolicyAction } from '@nexus-agent/protocol';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { metricNames, operations } from './names.ts';

/** What the system counts. No label carries the id of a run, session or tenant; open sets of names are bounded. */
export interface Metrics {
  runStarted(): void;
  runFinished(run: { status: 'completed' | 'failed' | 'cancelled'; durationMs: number; error?: ErrorCode }): void;
  /** A run entered (+1) or left (-1) this process; waiting runs are in none. */
  runLive(change: 1 | -1): void;
  /** A run was taken over from a worker that stopped. */
  runRecovered(): void;
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
  /** How many approvals wait, over all processes; asked at each scrape. */
  observeApprovalsWaiting(count: () => Promise<number>): void;
  approvalDecided(decision: string): void;
  streamOpened(): void;
  streamClosed(stream: { outcome: 'completed' | 'disconnected' | 'lagged' | 'shutdown' | 'failed'; durationMs: number }): void;
  streamEvents(count: number): void;
  requestCompleted(request: { method: string; route: string; status: number; durationMs: number }): void;
  /** All metrics in Prometheus text format. */
  scrape(): Promise<{ contentType: string; body: string }>;
  /** Stops watching the event loop. */
  close(): void;
}

/** Distinct values of a label whose names come from configuration or users; later ones are counted as `other`. */
const maxLabelValues = 100;

const fastBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** As the conventions advise: 10 ms doubling up to 82 s. */
const operationBuckets = Array.from({ length: 14 }, (_, index) => 0.01 * 2 ** index);
const tokenBuckets = Array.from({ length: 14 }, (_, index) => 4 ** index);
const runBuckets = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[] = []) =>
    new Counter({ name, help, labelNames, registers });
  const histogram = <Label extends string>(name: string, help: string, buckets: number[], labelNames: Label[] = []) =>
    new Histogram({ name, help, buckets, labelNames, registers });

  const runsStarted = counter(metricNames.runsStarted, 'Runs started');
  const runsFinished = counter(metricNames.runsFinished, 'Runs finished, by how', ['status', 'error_type']);
  const runsRecovered = counter(metricNames.runsRecovered, 'Runs taken over from a worker that stopped');
  const runsLive = new Gauge({ name: metricNames.runsLive, help: 'Runs that this process works on', registers });
  const runDuration = histogram(metricNames.runDuration, 'From start to end of a run, waiting included', runBuckets, ['status']);
  const modelLabels = ['gen_ai_operation_name', 'gen_ai_provider_name', 'gen_ai_request_model'] as const;
  const modelDuration = histogram(metricNames.modelDuration, 'Duration of model calls', operationBuckets, [...modelLabels, 'error_type']);
  const timeToFirstChunk = histogram(metricNames.timeToFirstChunk, 'Time to the first part of an answer', operationBuckets, [
    ...modelLabels,
  ]);
  const tokenUsage = histogram(metricNames.tokenUsage, 'Tokens per model call', tokenBuckets, [...modelLabels, 'gen_ai_token_type']);
  const modelCost = counter(metricNames.modelCost, 'Cost of model calls in millionths of a US dollar', [...modelLabels]);
  const toolDuration = histogram(metricNames.toolDuration, 'Duration of tool calls', operationBuckets, ['gen_ai_tool_name', 'error_type']);
  const budgetOperations = counter(metricNames.budgetOperations, 'Reservations by what became of them', ['operation']);
  const policyDecisions = counter(metricNames.policyDecisions, 'Policy decisions', ['action', 'effect']);
  const approvalsDecided = counter(metricNames.approvalsDecided, 'Approvals answered or expired', ['decision']);
  const streamsOpen = new Gauge({ name: metricNames.streamsOpen, help: 'Streams open to subscribers', registers });
  const streamsClosed = counter(metricNames.streamsClosed, 'Streams closed, by why', ['outcome']);
  const streamDuration = histogram(metricNames.streamDuration, 'How long streams were open', runBuckets);
  const streamEventCount = counter(metricNames.streamEvents, 'Events written to streams');
  const requestDuration = histogram(metricNames.requestDuration, 'Duration of HTTP requests other than streams', fastBuckets, [
    'http_request_method',
    'http_route',
    'http_response_status_code',
  ]);
  const providers = createBoundedLabel();
  const models = createBoundedLabel();
  const tools = createBoundedLabel();
  const routes = createBoundedLabel();
  const eventLoop = registerProcessMetrics(registry);

  return {
    runStarted: () => runsStarted.inc(),
    runFinished({ status, durationMs, error }) {
      runsFinished.inc({ status, error_type: error ?? '' });
      runDuration.observe({ status }, durationMs / 1000);
    },
    runLive: (change) => runsLive.inc(change),
    runRecovered: () => runsRecovered.inc(),
    modelCompleted(call) {
      const labels = {
        gen_ai_operation_name: operations.model,
        gen_ai_provider_name: providers(call.provider),
        gen_ai_request_model: models(call.model),
      };
      modelDuration.observe({ ...labels, error_type: call.error ?? '' }, call.durationMs / 1000);
      if (call.timeToFirstTokenMs !== undefined) timeToFirstChunk.observe(labels, call.timeToFirstTokenMs / 1000);
      if (call.inputTokens !== undefined) tokenUsage.observe({ ...labels, gen_ai_token_type: 'input' }, call.inputTokens);
      if (call.outputTokens !== undefined) tokenUsage.observe({ ...labels, gen_ai_token_type: 'output' }, call.outputTokens);
      if (call.costMicroUsd !== undefined) modelCost.inc(labels, call.costMicroUsd);
    },
    toolCompleted: ({ tool, durationMs, error }) =>
      toolDuration.observe({ gen_ai_tool_name: tools(tool), error_type: error ?? '' }, durationMs / 1000),
    budgetOperation: (operation) => budgetOperations.inc({ operation }),
    policyDecision: (action, effect) => policyDecisions.inc({ action, effect }),
    observeApprovalsWaiting(count) {
      registry.removeSingleMetric(metricNames.approvalsWaiting);
      new Gauge({
        name: metricNames.approvalsWaiting,
        help: 'Approvals that wait for a person',
        registers,
        async collect() {
          this.set(await count());
        },
      });
    },
    approvalDecided: (decision) => approvalsDecided.inc({ decision }),
    streamOpened: () => streamsOpen.inc(),
    streamClosed({ outcome, durationMs }) {
      streamsOpen.dec();
      streamsClosed.inc({ outcome });
      streamDuration.observe(durationMs / 1000);
    },
    streamEvents: (count) => streamEventCount.inc(count),
    requestCompleted({ method, route, status, durationMs }) {
      const labels = { http_request_method: method, http_route: routes(route), http_response_status_code: String(status) };
      requestDuration.observe(labels, durationMs / 1000);
    },
    scrape: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
    close: () => eventLoop.stop(),
  };
}

function createBoundedLabel(): (value: string) => string {
  const seen = new Set<string>();
  return (value) => {
    if (seen.has(value)) return value;
    if (seen.size >= maxLabelValues) return 'other';
    seen.add(value);
    return value;
  };
}

/** Values of the process itself, read at each scrape. Lag is of the time since the scrape before. */
function registerProcessMetrics(registry: Registry): { stop(): void } {
  const registers = [registry];
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  new Gauge({
    name: metricNames.eventLoopLag,
    help: 'Delay of the event loop',
    labelNames: ['quantile'],
    registers,
    collect() {
      for (const quantile of [50, 99, 100]) {
        const nanoseconds = quantile === 100 ? delay.max : delay.percentile(quantile);
        // Timers are due every 10 ms: what is measured includes that.
        this.set({ quantile: String(quantile / 100) }, Math.max(0, nanoseconds / 1e9 - 0.01));
      }
      delay.reset();
    },
  });
  new Gauge({
    name: metricNames.processMemory,
    help: 'Memory of the process',
    labelNames: ['kind'],
    registers,
    collect() {
      const { rss, heapUsed, external } = process.memoryUsage();
      this.set({ kind: 'rss' }, rss);
      this.set({ kind: 'heap_used' }, heapUsed);
      this.set({ kind: 'external' }, external);
    },
  });
  new Counter({
    name: metricNames.processCpu,
    help: 'CPU time of the process',
    labelNames: ['mode'],
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc({ mode: 'user' }, user / 1e6);
      this.inc({ mode: 'system' }, system / 1e6);
    },
  });
  new Gauge({ name: metricNames.processStart, help: 'When the process started, in seconds since 1970', registers }).set(
    Math.round(Date.now() / 1000 - process.uptime()),
  );
  return { stop: () => delay.disable() };
}
