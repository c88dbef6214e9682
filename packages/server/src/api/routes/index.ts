import type { Route } from '#api/contract';
import { approvalRoutes } from './approvals.ts';
import { chatRoutes } from './chat.ts';
import type { RouteContext } from './context.ts';
import { resourceRoutes } from './resources.ts';
import { runRoutes } from './runs.ts';
import { sessionRoutes } from './sessions.ts';
import { systemRoutes } from './system.ts';

/** Every endpoint, in the order in which the documentation shows them. */
export function createRoutes(context: RouteContext): Route[] {
  const api = [...sessionRoutes(), ...chatRoutes(context), ...runRoutes(context), ...approvalRoutes(), ...resourceRoutes(context)];
  return [...api, ...systemRoutes(context, api)];
}
