import { createCalls } from './calls.ts';
import { agents } from './resources/agents.ts';
import { approvals } from './resources/approvals.ts';
import { artifacts } from './resources/artifacts.ts';
import { budgets } from './resources/budgets.ts';
import { chat } from './resources/chat.ts';
import { definitions } from './resources/definitions.ts';
import { health } from './resources/health.ts';
import { keys } from './resources/keys.ts';
import { mcp } from './resources/mcp.ts';
import { mcpServers } from './resources/mcp-servers.ts';
import { models } from './resources/models.ts';
import { plugins } from './resources/plugins.ts';
import { retention } from './resources/retention.ts';
import { runs } from './resources/runs.ts';
import { sessions } from './resources/sessions.ts';
import { toolSources } from './resources/tool-sources.ts';
import { toolWorkers } from './resources/tool-workers.ts';
import { tools } from './resources/tools.ts';
import { usage } from './resources/usage.ts';
import { createTransport, type Transport, type TransportOptions } from './transport.ts';

export type NexusClientOptions = TransportOptions;

/** How each client sends: for what a page need not load with it. */
const transports = new WeakMap<object, Transport>();

/** Throws a `TypeError` for what is no client. */
export function transportOf(client: NexusClient): Transport {
  const transport = transports.get(client);
  if (transport === undefined) throw new TypeError('expected a client that createNexusClient made');
  return transport;
}

export type NexusClient = ReturnType<typeof createNexusClient>;

/**
 * A client of the Nexus Agent API. Calls throw {@link NexusApiError} with the server's code and problem. Reads and
 * creations are repeated while a failure is retryable; creations carry an idempotency key, so they happen once.
 */
export function createNexusClient(options: NexusClientOptions) {
  const transport = createTransport(options);
  const calls = createCalls(transport);
  const client = {
    chat: chat(transport),
    sessions: sessions(calls, transport),
    runs: runs(calls, transport),
    artifacts: artifacts(calls, transport),
    approvals: approvals(calls),
    agents: agents(calls),
    tools: tools(calls),
    toolWorkers: toolWorkers(calls),
    mcp: mcp(transport),
    plugins: plugins(calls),
    mcpServers: mcpServers(calls),
    toolSources: toolSources(calls),
    models: models(calls),
    budgets: budgets(calls),
    usage: usage(calls),
    retention: retention(calls),
    definitions: definitions(calls),
    keys: keys(calls),
    health: health(transport),
  };
  transports.set(client, transport);
  return client;
}
