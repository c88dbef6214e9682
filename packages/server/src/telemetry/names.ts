/**
 * Names of spans, attributes and metrics after the OpenTelemetry conventions for generative AI. These are still under
 * development there, so they are written down only here.
 */
export const spanNames = {
  /** One run of an agent. */
  run: (agent: string) => `invoke_agent ${agent}`,
  step: 'step',
  model: (model: string) => `chat ${model}`,
  tool: (tool: string) => `execute_tool ${tool}`,
} as const;

export const attributes = {
  operation: 'gen_ai.operation.name',
  provider: 'gen_ai.provider.name',
  requestModel: 'gen_ai.request.model',
  responseModel: 'gen_ai.response.model',
  maxTokens: 'gen_ai.request.max_tokens',
  finishReasons: 'gen_ai.response.finish_reasons',
  inputTokens: 'gen_ai.usage.input_tokens',
  outputTokens: 'gen_ai.usage.output_tokens',
  cacheReadTokens: 'gen_ai.usage.cache_read.input_tokens',
  cacheWriteTokens: 'gen_ai.usage.cache_creation.input_tokens',
  reasoningTokens: 'gen_ai.usage.reasoning.output_tokens',
  agentName: 'gen_ai.agent.name',
  conversationId: 'gen_ai.conversation.id',
  toolName: 'gen_ai.tool.name',
  toolCallId: 'gen_ai.tool.call.id',
  errorType: 'error.type',
  tenantId: 'nexus.tenant.id',
  runId: 'nexus.run.id',
  runStatus: 'nexus.run.status',
  step: 'nexus.step',
  attempt: 'nexus.attempt',
  costMicroUsd: 'nexus.cost.micro_usd',
  decisionId: 'nexus.policy.decision.id',
  recovered: 'nexus.recovered',
  /** How long a tool call waited for its turn. */
  waitedMs: 'nexus.tool.waited_ms',
} as const;

export const operations = { run: 'invoke_agent', model: 'chat', tool: 'execute_tool' } as const;

/** Prometheus spelling: dots become underscores, seconds are named. */
export const metricNames = {
  tokenUsage: 'gen_ai_client_token_usage',
  modelDuration: 'gen_ai_client_operation_duration_seconds',
  timeToFirstChunk: 'gen_ai_client_operation_time_to_first_chunk_seconds',
  runDuration: 'gen_ai_invoke_agent_duration_seconds',
  toolDuration: 'gen_ai_execute_tool_duration_seconds',
  modelCost: 'nexus_model_cost_micro_usd_total',
  runsStarted: 'nexus_runs_started_total',
  runsFinished: 'nexus_runs_finished_total',
  runsRecovered: 'nexus_runs_recovered_total',
  recoveryDuration: 'nexus_run_recovery_seconds',
  runsLive: 'nexus_runs_live',
  runs: 'nexus_runs',
  workers: 'nexus_workers',
  queueDepth: 'nexus_queue_depth',
  queueOldest: 'nexus_queue_oldest_seconds',
  budgetLimits: 'nexus_budget_limits',
  budgetUtilization: 'nexus_budget_utilization_ratio',
  databaseUp: 'nexus_database_up',
  databaseConnections: 'nexus_database_connections',
  httpConnections: 'nexus_http_connections',
  authFailures: 'nexus_auth_failures_total',
  retentionDeleted: 'nexus_retention_deleted_total',
  buildInfo: 'nexus_build_info',
  turnWait: 'nexus_turn_wait_seconds',
  turnsWaiting: 'nexus_turns_waiting',
  invariantViolations: 'nexus_invariant_violations_total',
  budgetOperations: 'nexus_budget_operations_total',
  policyDecisions: 'nexus_policy_decisions_total',
  approvalsWaiting: 'nexus_approvals_waiting',
  approvalsDecided: 'nexus_approvals_decided_total',
  streamsOpen: 'nexus_streams_open',
  streamsClosed: 'nexus_streams_closed_total',
  streamDuration: 'nexus_stream_duration_seconds',
  streamEvents: 'nexus_stream_events_total',
  requestDuration: 'http_server_request_duration_seconds',
  eventLoopLag: 'nexus_event_loop_lag_seconds',
  processMemory: 'nexus_process_memory_bytes',
  processCpu: 'nexus_process_cpu_seconds_total',
  processStart: 'nexus_process_start_time_seconds',
} as const;
