/** Every endpoint. */
import type { Route } from '#api/contract';
import { agentRoutes } from './agents.ts';
import { approvalRoutes } from './approvals.ts';
import { artifactRoutes } from './artifacts.ts';
import { budgetRoutes } from './budgets.ts';
import { chatRoutes } from './chat.ts';
import type { RouteContext } from './context.ts';
import { definitionRoutes } from './definitions.ts';
import { fileRoutes } from './files.ts';
import { journalRoutes } from './journal.ts';
import { keyRoutes } from './keys.ts';
import { mcpRoutes } from './mcp.ts';
import { mcpServerRoutes } from './mcp-servers.ts';
import { messageRoutes } from './messages.ts';
import { modelRoutes } from './models.ts';
import { pluginRoutes } from './plugins.ts';
import { retentionRoutes } from './retention.ts';
import { runRoutes } from './runs.ts';
import { sessionRoutes } from './sessions.ts';
import { systemRoutes } from './system.ts';
import { toolSourceRoutes } from './tool-sources.ts';
import { toolWorkerRoutes } from './tool-workers.ts';
import { toolRoutes } from './tools.ts';
import { usageRoutes } from './usage.ts';

/** In the order in which the documentation shows them. */
const resources: readonly ((context: RouteContext) => Route[])[] = [
  sessionRoutes,
  messageRoutes,
  fileRoutes,
  artifactRoutes,
  chatRoutes,
  runRoutes,
  journalRoutes,
  approvalRoutes,
  agentRoutes,
  modelRoutes,
  toolRoutes,
  toolWorkerRoutes,
  mcpRoutes,
  pluginRoutes,
  mcpServerRoutes,
  toolSourceRoutes,
  budgetRoutes,
  usageRoutes,
  retentionRoutes,
  definitionRoutes,
  keyRoutes,
];

export function createRoutes(context: RouteContext): Route[] {
  const api = resources.flatMap((routes) => routes(context));
  return [...api, ...systemRoutes(context, api)];
}
