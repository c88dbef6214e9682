import { afterEach, expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import { createMetrics } from './index.ts';
import { metricNames } from './names.ts';

const metrics = createMetrics();
afterEach(() => metrics.close());

async function lines(): Promise<string[]> {
  const { body } = await metrics.scrape();
  return body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

it('shows everything it counts, in Prometheus text format', async () => {
  metrics.runStarted();
  metrics.runLive(1);
  metrics.runFinished({ status: 'completed', durationMs: 1500 });
  metrics.runFinished({ status: 'failed', durationMs: 10, error: 'budget_exceeded' });
  metrics.runRecovered();
  metrics.modelCompleted({
    provider: 'sim',
    model: 'sim-large',
    durationMs: 200,
    timeToFirstTokenMs: 50,
    inputTokens: 100,
    outputTokens: 20,
    costMicroUsd: 7,
  });
  metrics.modelCompleted({ provider: 'sim', model: 'sim-large', durationMs: 200, error: 'provider_timeout' });
  metrics.toolCompleted({ tool: 'fs_read', durationMs: 3 });
  metrics.toolExecuted({ tool: 'fs_read', tier: 'host', source: 'built-in', outcome: 'failed', limit: 'files', queueMs: 0, runMs: 3 });
  metrics.egressConnected('http_fetch');
  metrics.egress({ source: 'http_fetch', sentBytes: 1, receivedBytes: 2 });
  metrics.observePools(() => [{ pool: 'sandbox', busy: 0, idle: 1 }]);
  metrics.budgetOperation('refused');
  metrics.policyDecision('tool.execute', 'deny');
  metrics.approvalDecided('approve');
  metrics.runRecovered(1_500);
  metrics.connectionOpened();
  metrics.requestRefused('unauthenticated');
  metrics.retentionDeleted('sessions', 3);
  metrics.observeStore({
    measure: async () => ({
      runs: { queued: 5, running: 1, waiting: 2 },
      due: { count: 3, since: Date.now() - 10_000 },
      approvalsWaiting: 4,
      workers: { alive: 2, lost: 1 },
      budgets: [
        { scope: 'user', unit: 'tokens', used: 'under_half', count: 7, largest: 0.2 },
        { scope: 'user', unit: 'tokens', used: 'under_100', count: 1, largest: 0.9 },
      ],
    }),
    pool: () => ({ inUse: 2, idle: 1, waiting: 9 }),
  });
  metrics.streamOpened();
  metrics.streamOpened();
  metrics.streamClosed({ outcome: 'lagged', durationMs: 20 });
  metrics.streamEvents(5);
  metrics.requestCompleted({ method: 'GET', route: '/v1/runs/{id}', status: 200, durationMs: 4 });

  const { contentType } = await metrics.scrape();
  expect(contentType).toMatch(/^text\/plain; version=0\.0\.4/);
  const body = await lines();
  expect(body).toEqual(
    expect.arrayContaining([
      'nexus_runs_started_total 1',
      'nexus_runs_live 1',
      'nexus_runs_recovered_total 2',
      'nexus_run_recovery_seconds_sum 1.5',
      'nexus_runs{status="waiting"} 2',
      'nexus_workers{state="lost"} 1',
      'nexus_queue_depth 3',
      'nexus_budget_limits{scope="user",unit="tokens",used="under_half"} 7',
      'nexus_budget_utilization_ratio{scope="user",unit="tokens"} 0.9',
      'nexus_database_connections{state="waiting"} 9',
      'nexus_database_up 1',
      'nexus_http_connections 1',
      'nexus_auth_failures_total{error_type="unauthenticated"} 1',
      'nexus_retention_deleted_total{kind="sessions"} 3',
      expect.stringMatching(/^nexus_build_info\{version="",node="[\d.]+",database=""\} 1$/),
      'nexus_runs_finished_total{status="completed",error_type=""} 1',
      'nexus_runs_finished_total{status="failed",error_type="budget_exceeded"} 1',
      'gen_ai_invoke_agent_duration_seconds_sum{status="completed"} 1.5',
      'gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="sim",gen_ai_request_model="sim-large",gen_ai_token_type="input"} 100',
      'gen_ai_client_operation_time_to_first_chunk_seconds_sum{gen_ai_operation_name="chat",gen_ai_provider_name="sim",gen_ai_request_model="sim-large"} 0.05',
      'gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="sim",gen_ai_request_model="sim-large",error_type="provider_timeout"} 1',
      'nexus_model_cost_micro_usd_total{gen_ai_operation_name="chat",gen_ai_provider_name="sim",gen_ai_request_model="sim-large"} 7',
      'gen_ai_execute_tool_duration_seconds_count{gen_ai_tool_name="fs_read",error_type=""} 1',
      'nexus_budget_operations_total{operation="refused"} 1',
      'nexus_policy_decisions_total{action="tool.execute",effect="deny"} 1',
      'nexus_approvals_decided_total{decision="approve"} 1',
      'nexus_approvals_waiting 4',
      'nexus_streams_open 1',
      'nexus_streams_closed_total{outcome="lagged"} 1',
      'nexus_stream_events_total 5',
      'http_server_request_duration_seconds_count{http_request_method="GET",http_route="/v1/runs/{id}",http_response_status_code="200"} 1',
    ]),
  );
  for (const name of Object.values(metricNames)) expect(body.filter((line) => line.startsWith(name)).length, name).toBeGreaterThan(0);
});

it('bounds the values of a label whose names others choose', async () => {
  for (let index = 0; index < 1000; index++) metrics.toolCompleted({ tool: `mcp_${index}`, durationMs: 1 });
  const tools = (await lines()).filter((line) => line.startsWith('gen_ai_execute_tool_duration_seconds_count'));
  expect(tools.length).toBeLessThanOrEqual(102);
  expect(tools.some((line) => line.includes('gen_ai_tool_name="other"'))).toBe(true);
});

it('shows that the event loop was blocked', async () => {
  const watching = createMetrics();
  try {
    await watching.scrape();
    const lagMs = async () => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      const until = performance.now() + 150;
      while (performance.now() < until);
      await new Promise((resolve) => setTimeout(resolve, 30));
      return Number(/nexus_event_loop_lag_seconds\{percentile="100"\} (\S+)/.exec((await watching.scrape()).body)?.[1]) * 1000;
    };
    expect(await lagMs()).toBeGreaterThan(80);
  } finally {
    watching.close();
  }
});

it('says by its clock when the process started', async () => {
  const clock = createManualClock(Date.UTC(2026, 0, 1));
  const timed = createMetrics(clock);
  const [, seconds] = /^nexus_process_start_time_seconds (\d+)$/m.exec((await timed.scrape()).body) ?? [];
  timed.close();
  expect(Math.abs(Number(seconds) - (clock.now() / 1000 - process.uptime()))).toBeLessThan(5);
});

it('keeps the numbers of two instances apart', async () => {
  const other = createMetrics();
  other.runStarted();
  expect((await other.scrape()).body).toContain('nexus_runs_started_total 1');
  other.close();
});

it('tells everything else while the database does not answer', async () => {
  const cut = createMetrics();
  let answers = true;
  cut.observeStore({
    measure: () =>
      answers
        ? Promise.resolve({
            runs: { queued: 1 },
            due: { count: 1, since: 0 },
            approvalsWaiting: 1,
            workers: { alive: 1, lost: 0 },
            budgets: [],
          })
        : Promise.reject(new Error('gone')),
    pool: () => ({ inUse: 0, idle: 0, waiting: 2 }),
  });
  expect((await cut.scrape()).body).toContain('nexus_approvals_waiting 1');
  answers = false;
  const { body } = await cut.scrape();
  expect(body).toContain('nexus_database_up 0');
  expect(body).toContain('nexus_database_connections{state="waiting"} 2');
  expect(body).toContain('nexus_runs_started_total 0');
  for (const stale of ['nexus_approvals_waiting ', 'nexus_runs{', 'nexus_workers{', 'nexus_queue_depth '])
    expect(body).not.toMatch(new RegExp(`^${stale}`, 'm'));
  cut.close();
});

it('counts what tools do by tool, tier, kind of source and outcome, in closed sets [verifies tools.metrics]', async () => {
  metrics.observeNames({ models: async () => [], tools: async () => [{ name: 'shop_find' }] });
  await new Promise((resolve) => setImmediate(resolve));
  const call = { tool: 'shop_find', tier: 'remote', source: 'http:shop', outcome: 'completed', queueMs: 20, runMs: 300 } as const;
  metrics.toolExecuted(call);
  metrics.toolExecuted({ ...call, tool: 'made_up', tier: 'x', source: 'odd:y', outcome: 'refused', error: 'rate_limited', limit: 'queue' });
  metrics.toolExecuted({ ...call, outcome: 'failed', error: 'limit_exceeded', limit: 'anything' });
  metrics.egressConnected('mcp');
  metrics.egress({ source: 'http_tools', sentBytes: 10, receivedBytes: 1_000 });
  let busy = 1;
  metrics.observePools(() => [{ pool: 'jail', busy, idle: 0 }]);
  busy = 3;
  expect(await lines()).toEqual(
    expect.arrayContaining([
      'nexus_tool_calls_total{gen_ai_tool_name="shop_find",tier="remote",source="http",outcome="completed",error_type=""} 1',
      'nexus_tool_calls_total{gen_ai_tool_name="other",tier="other",source="other",outcome="refused",error_type="rate_limited"} 1',
      'nexus_tool_queue_seconds_count{tier="remote",source="http"} 2',
      'nexus_tool_run_seconds_sum{tier="remote",source="http"} 0.6',
      'nexus_tool_limits_total{limit="queue"} 1',
      'nexus_tool_limits_total{limit="other"} 1',
      'nexus_tool_egress_connections_total{source="mcp"} 1',
      'nexus_tool_egress_bytes_total{source="http_tools",direction="received"} 1000',
      'nexus_tool_pool_size{pool="jail",state="busy"} 3',
    ]),
  );
  expect(await lines()).not.toContainEqual(expect.stringMatching(/^nexus_tool_run_seconds.*source="other"/));
});
