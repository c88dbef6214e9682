import { ApprovalDecision, type ErrorCode, PolicyAction } from '@nexus-agent/protocol';
import { Registry } from 'prom-client';
import { type Clock, type Invariant, invariants, systemClock, type WaitOutcome } from '#core';
import { createInstruments, type Instruments, operationBuckets } from './instruments.ts';
import {
  type ConfiguredNames,
  closedSet,
  createKnownNames,
  errorCodes,
  httpMethods,
  httpStatuses,
  type LabelNames,
  namedSet,
  otherValue,
} from './labels.ts';
import { metricNames, operations } from './names.ts';
import { type BuildInfo, registerBuildInfo, registerProcessMetrics } from './process-metrics.ts';
import { type ObservedStore, registerStoreMetrics } from './store-metrics.ts';
import { countTools, shownTool, type ToolMetrics } from './tool-metrics.ts';

/**
 * What the system counts. Every label is declared with the set of its values (`labels.ts`): what outsiders send adds no series. None
 * carries the id of a run, session or tenant.
 */
export interface Metrics extends ToolMetrics {
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
  /** A wait for a place in a queue of tool calls has ended, so or so; 0 for those that found one free. */
  turnEnded(turn: { queue: TurnQueue; outcome: WaitOutcome; waitedMs: number }): void;
  /** So many tool calls wait in the queue now. */
  turnsWaiting(queue: TurnQueue, count: number): void;
  budgetOperation(operation: 'reserved' | 'refused' | 'settled' | 'released' | 'expired'): void;
  policyDecision(action: PolicyAction, effect: 'allow' | 'deny' | 'require_approval'): void;
  /** What the database says of the work of all processes and tenants, and the connections to it; asked at each scrape. */
  observeStore(store: ObservedStore): void;
  /** What is configured: models and tools of other names are counted as `other` from then on. `configured` is known without asking. */
  observeNames(names: ConfiguredNames, configured?: readonly string[]): void;
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
  /** A commit was refused because rows of the database contradict each other. */
  invariantBroken(invariant: Invariant): void;
  requestCompleted(request: { method: string; route: string; status: number; durationMs: number }): void;
  /** All metrics in Prometheus text format. */
  scrape(): Promise<{ contentType: string; body: string }>;
  /** Stops watching the event loop. */
  close(): void;
}

/** What tool calls wait for. */
export type TurnQueue = 'tools' | 'sandbox' | 'http_fetch' | 'http_tools' | 'jail' | 'plugins';

const fastBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const tokenBuckets = Array.from({ length: 14 }, (_, index) => 4 ** index);
const recoveryBuckets = [0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60];
const runBuckets = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];

export function createMetrics(clock: Clock = systemClock, build: BuildInfo = { version: '', database: '' }): Metrics {
  const registry = new Registry();
  registerBuildInfo(registry, build);
  const instruments = createInstruments(registry);
  const eventLoop = registerProcessMetrics(registry, clock);
  const names = createKnownNames();
  const { refreshPools, ...tools } = countTools(instruments, names);
  let readStore = async (): Promise<void> => undefined;
  return {
    ...countRuns(instruments),
    ...countModelCalls(instruments, names),
    ...countToolCalls(instruments, names),
    ...countTurns(instruments),
    ...tools,
    ...countDecisions(instruments),
    ...countStreams(instruments),
    ...countRequests(instruments),
    ...countConnections(instruments),
    ...countRetention(instruments),
    ...countInvariants(instruments),
    observeStore(store) {
      readStore = registerStoreMetrics(registry, store, clock);
    },
    observeNames: (given, configured = []) => names.observe(given, configured),
    async scrape() {
      names.refresh();
      refreshPools();
      await readStore();
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
    close: () => eventLoop.stop(),
  };
}

const runEnds = closedSet(['completed', 'failed', 'cancelled']);

function countRuns({
  total,
  counter,
  gauge,
  timing,
  histogram,
}: Instruments): Pick<Metrics, 'runStarted' | 'runFinished' | 'runLive' | 'runRecovered'> {
  const started = total(metricNames.runsStarted, 'Runs started');
  const finished = counter(metricNames.runsFinished, 'Runs finished, by how', { status: runEnds, error_type: errorCodes });
  const recovered = total(metricNames.runsRecovered, 'Runs taken over from a worker that stopped');
  const recovery = timing(metricNames.recoveryDuration, 'From the end of a lost lease until its run goes on', recoveryBuckets);
  const live = gauge(metricNames.runsLive, 'Runs that this process works on');
  const duration = histogram(metricNames.runDuration, 'From start to end of a run, waiting included', runBuckets, { status: runEnds });
  return {
    runStarted: () => started(),
    runFinished({ status, durationMs, error }) {
      finished.inc({ status, error_type: error ?? '' });
      duration.observe({ status }, durationMs / 1000);
    },
    runLive: (change) => live.inc(change),
    runRecovered(durationMs) {
      recovered();
      if (durationMs !== undefined) recovery(Math.max(0, durationMs) / 1000);
    },
  };
}

function countModelCalls({ counter, histogram }: Instruments, names: LabelNames): Pick<Metrics, 'modelCompleted'> {
  const sets = {
    gen_ai_operation_name: closedSet([operations.model]),
    gen_ai_provider_name: namedSet(names.isProvider),
    gen_ai_request_model: namedSet(names.isModel),
  };
  const withError = { ...sets, error_type: errorCodes };
  const withType = { ...sets, gen_ai_token_type: closedSet(['input', 'output']) };
  const duration = histogram(metricNames.modelDuration, 'Duration of model calls', operationBuckets, withError);
  const timeToFirstChunk = histogram(metricNames.timeToFirstChunk, 'Time to the first part of an answer', operationBuckets, sets);
  const tokenUsage = histogram(metricNames.tokenUsage, 'Tokens per model call', tokenBuckets, withType);
  const cost = counter(metricNames.modelCost, 'Cost of model calls in millionths of a US dollar', sets);
  return {
    modelCompleted(call) {
      const labels = {
        gen_ai_operation_name: operations.model,
        gen_ai_provider_name: call.provider,
        // The simulator takes what it is to do behind the name of a model.
        gen_ai_request_model: call.model.split('?', 1)[0] ?? '',
      };
      duration.observe({ ...labels, error_type: call.error ?? '' }, call.durationMs / 1000);
      if (call.timeToFirstTokenMs !== undefined) timeToFirstChunk.observe(labels, call.timeToFirstTokenMs / 1000);
      if (call.inputTokens !== undefined) tokenUsage.observe({ ...labels, gen_ai_token_type: 'input' }, call.inputTokens);
      if (call.outputTokens !== undefined) tokenUsage.observe({ ...labels, gen_ai_token_type: 'output' }, call.outputTokens);
      if (call.costMicroUsd !== undefined) cost.inc(labels, call.costMicroUsd);
    },
  };
}

const turnQueues = ['tools', 'sandbox', 'jail', 'plugins', 'http_fetch', 'http_tools'] as const;

function countTurns({ histogram, gauges }: Instruments): Pick<Metrics, 'turnEnded' | 'turnsWaiting'> {
  const waits = histogram(metricNames.turnWait, 'How long tool calls waited for their turn', operationBuckets, {
    queue: closedSet(turnQueues),
    outcome: closedSet(['served', 'timed_out', 'cancelled', 'refused'] satisfies WaitOutcome[]),
  });
  const waiting = gauges(metricNames.turnsWaiting, 'Tool calls that wait for their turn', { queue: closedSet(turnQueues) });
  for (const queue of turnQueues) {
    waiting.set({ queue }, 0);
    waits.begin({ queue, outcome: 'served' });
  }
  return {
    turnEnded: ({ queue, outcome, waitedMs }) => waits.observe({ queue, outcome }, waitedMs / 1000),
    turnsWaiting: (queue, count) => waiting.set({ queue }, count),
  };
}

function countToolCalls({ histogram }: Instruments, names: LabelNames): Pick<Metrics, 'toolCompleted'> {
  const duration = histogram(metricNames.toolDuration, 'Duration of tool calls', operationBuckets, {
    gen_ai_tool_name: namedSet((name) => name === 'agent' || names.isTool(name)),
    error_type: errorCodes,
  });
  return {
    toolCompleted: ({ tool, durationMs, error }) =>
      duration.observe({ gen_ai_tool_name: shownTool(tool), error_type: error ?? '' }, durationMs / 1000),
  };
}

function countDecisions({ counter }: Instruments): Pick<Metrics, 'budgetOperation' | 'policyDecision' | 'approvalDecided'> {
  const budgetOperations = counter(metricNames.budgetOperations, 'Reservations by what became of them', {
    operation: closedSet(['reserved', 'refused', 'settled', 'released', 'expired']),
  });
  const policyDecisions = counter(metricNames.policyDecisions, 'Policy decisions', {
    action: closedSet(PolicyAction.options),
    effect: closedSet(['allow', 'deny', 'require_approval']),
  });
  const approvalsDecided = counter(metricNames.approvalsDecided, 'Approvals answered or expired', {
    decision: closedSet(ApprovalDecision.options),
  });
  return {
    budgetOperation: (operation) => budgetOperations.inc({ operation }),
    policyDecision: (action, effect) => policyDecisions.inc({ action, effect }),
    approvalDecided: (decision) => approvalsDecided.inc({ decision }),
  };
}

function countStreams({ total, counter, gauge, timing }: Instruments): Pick<Metrics, 'streamOpened' | 'streamClosed' | 'streamEvents'> {
  const open = gauge(metricNames.streamsOpen, 'Streams open to subscribers');
  const closed = counter(metricNames.streamsClosed, 'Streams closed, by why', {
    outcome: closedSet(['completed', 'disconnected', 'lagged', 'shutdown', 'failed']),
  });
  const duration = timing(metricNames.streamDuration, 'How long streams were open', runBuckets);
  const events = total(metricNames.streamEvents, 'Events written to streams');
  return {
    streamOpened: () => open.inc(),
    streamClosed({ outcome, durationMs }) {
      open.dec();
      closed.inc({ outcome });
      duration(durationMs / 1000);
    },
    streamEvents: (count) => events(count),
  };
}

function countConnections({ counter, gauge }: Instruments): Pick<Metrics, 'connectionOpened' | 'connectionClosed' | 'requestRefused'> {
  const connections = gauge(metricNames.httpConnections, 'Connections of clients, streams among them');
  const refused = counter(metricNames.authFailures, 'Requests that were not let in, by why', { error_type: errorCodes });
  return {
    connectionOpened: () => connections.inc(),
    connectionClosed: () => connections.dec(),
    requestRefused: (error) => refused.inc({ error_type: error }),
  };
}

const retentionKinds = closedSet('sessions decisions idempotencyKeys reservations ledgerEntries idleBalances contents'.split(' '));

function countRetention({ counter }: Instruments): Pick<Metrics, 'retentionDeleted'> {
  const deleted = counter(metricNames.retentionDeleted, 'What was deleted because it is no longer kept', { kind: retentionKinds });
  return { retentionDeleted: (kind, count) => deleted.inc({ kind }, count) };
}

function countInvariants({ counter }: Instruments): Pick<Metrics, 'invariantBroken'> {
  const broken = counter(metricNames.invariantViolations, 'Commits refused because rows of the database contradict each other', {
    invariant: closedSet(invariants),
  });
  for (const invariant of invariants) broken.inc({ invariant }, 0);
  return { invariantBroken: (invariant) => broken.inc({ invariant }) };
}

/** The route of a request that no route is for. */
const unmatchedRoute = 'unmatched';
/** Routes come from the server's own table; their number is bounded should one ever not. */
const anyRoute = () => true;

function countRequests({ histogram }: Instruments): Pick<Metrics, 'requestCompleted'> {
  const duration = histogram(metricNames.requestDuration, 'Duration of HTTP requests other than streams', fastBuckets, {
    http_request_method: httpMethods,
    http_route: namedSet(anyRoute),
    http_response_status_code: httpStatuses,
  });
  // Whoever tries paths and methods that there are not is counted in series that are there already.
  const elsewhere = { http_request_method: otherValue, http_route: unmatchedRoute };
  for (const status of ['400', '401', '403', '404', '405']) duration.begin({ ...elsewhere, http_response_status_code: status });
  return {
    requestCompleted({ method, route, status, durationMs }) {
      const place = route === unmatchedRoute ? elsewhere : { http_request_method: method, http_route: route };
      const labels = { ...place, http_response_status_code: String(status) };
      duration.observe(labels, durationMs / 1000);
    },
  };
}
