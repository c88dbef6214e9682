import {
  Agent,
  AgentDefinition,
  BudgetRow,
  BudgetScopeKind,
  Key,
  KeyCreateRequest,
  ModelInfo,
  page,
  SetBudgetRequest,
  ToolExecuteRequest,
  ToolExecuteResult,
  ToolInfo,
  UsageRow,
} from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Answer, type Call, pageQuery, pageRequest, type Route, route, whole } from '#api/contract';
import { NexusError } from '#core';
import type { RouteContext } from './context.ts';

const BudgetsQuery = pageQuery.extend({
  scope: z
    .string()
    .regex(/^(tenant|project|agent|user|session|run):.{1,200}$/, {
      error: 'expected <kind>:<id>, such as session:ses_01h455vb4pex5vsknk084sn02q',
    })
    .optional(),
});

export function resourceRoutes(context: RouteContext): Route[] {
  return [...agentRoutes(), ...toolRoutes(), ...budgetRoutes(), ...keyRoutes(context)];
}

function agentRoutes(): Route[] {
  const tag = 'agents';
  return [
    route({
      method: 'GET',
      path: '/v1/agents',
      operationId: 'listAgents',
      summary: 'List agents in their current versions',
      tag,
      scope: 'runs',
      query: pageQuery,
      responses: { 200: { description: 'A page of agents', schema: page(Agent) } },
      handle: async ({ services, principal, query }) => ({ status: 200, body: await services.agents.list(principal, pageRequest(query)) }),
    }),
    route({
      method: 'POST',
      path: '/v1/agents',
      operationId: 'putAgent',
      summary: 'Store an agent definition and make it the current version of its name; the same content is the same version',
      tag,
      scope: 'admin',
      body: AgentDefinition,
      responses: { 201: { description: 'The agent', schema: Agent } },
      handle: async ({ services, principal, body }) => ({ status: 201, body: await services.agents.put(principal, body) }),
    }),
    route({
      method: 'GET',
      path: '/v1/agents/{agent}',
      operationId: 'getAgent',
      summary: 'Show an agent, in its current or a given version',
      tag,
      scope: 'runs',
      params: { agent: 'name' },
      query: z.strictObject({ version: z.string().min(1).max(100).optional() }),
      responses: { 200: { description: 'The agent', schema: Agent } },
      handle: async ({ services, principal, params, query }) => ({
        status: 200,
        body: await services.agents.get(principal, params.agent ?? '', ...(query.version === undefined ? [] : [query.version])),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/models',
      operationId: 'listModels',
      summary: 'List the models that configured providers serve, with prices',
      tag,
      scope: 'runs',
      responses: { 200: { description: 'All models', schema: page(ModelInfo) } },
      handle: async ({ services, principal }) => ({ status: 200, body: whole(await services.models.list(principal)) }),
    }),
  ];
}

function toolRoutes(): Route[] {
  const tag = 'tools';
  return [
    route({
      method: 'GET',
      path: '/v1/tools',
      operationId: 'listTools',
      summary: 'List tools with their input schemas and effects',
      tag,
      scope: 'runs',
      responses: { 200: { description: 'All tools', schema: page(ToolInfo) } },
      handle: async ({ services, principal }) => ({ status: 200, body: whole(await services.tools.list(principal)) }),
    }),
    route({
      method: 'POST',
      path: '/v1/tools/{tool}/execute',
      operationId: 'executeTool',
      summary: 'Run one tool under the policy and budget of a session',
      tag,
      scope: 'runs',
      params: { tool: 'name' },
      body: ToolExecuteRequest,
      responses: { 200: { description: 'What the tool gave, or how it failed', schema: ToolExecuteResult } },
      handle: async (call) => ({
        status: 200,
        body: await call.services.tools.execute(call.principal, call.params.tool ?? '', call.body, call.signal()),
      }),
    }),
  ];
}

function budgetRoutes(): Route[] {
  const tag = 'budgets';
  const set = async ({ services, principal, body }: Call<SetBudgetRequest, undefined>): Promise<Answer> => ({
    status: 200,
    body: await services.budgets.set(principal, body),
  });
  const setBudget = {
    path: '/v1/budgets',
    summary: 'Set the limit of a scope, unit and window',
    tag,
    scope: 'admin',
    body: SetBudgetRequest,
    responses: { 200: { description: 'The balance', schema: BudgetRow } },
    handle: set,
  } as const;
  return [
    route({
      method: 'GET',
      path: '/v1/budgets',
      operationId: 'listBudgets',
      summary: 'List balances: limit, spent and reserved',
      tag,
      scope: 'runs',
      query: BudgetsQuery,
      responses: { 200: { description: 'A page of balances', schema: page(BudgetRow) } },
      async handle({ services, principal, query }) {
        const [kind, id] = splitOnce(query.scope ?? '');
        const filter = query.scope === undefined ? {} : { scope: { kind: BudgetScopeKind.parse(kind), id } };
        return { status: 200, body: await services.budgets.list(principal, filter, pageRequest(query)) };
      },
    }),
    route({ ...setBudget, method: 'PUT', operationId: 'setBudget' }),
    route({ ...setBudget, method: 'POST', operationId: 'setBudgetByPost' }),
    route({
      method: 'GET',
      path: '/v1/usage',
      operationId: 'usage',
      summary: 'What was spent, by day (UTC)',
      tag,
      scope: 'runs',
      query: z.strictObject({
        days: z.coerce.number({ error: 'expected a whole number from 1 to 366' }).int().min(1).max(366).default(30),
      }),
      responses: { 200: { description: 'A row per day', schema: page(UsageRow) } },
      handle: async ({ services, principal, query }) => ({ status: 200, body: whole(await services.budgets.usage(principal, query.days)) }),
    }),
  ];
}

function splitOnce(text: string): [string, string] {
  const at = text.indexOf(':');
  return [text.slice(0, at), text.slice(at + 1)];
}

function keyRoutes(context: RouteContext): Route[] {
  const tag = 'keys';
  return [
    route({
      method: 'POST',
      path: '/v1/keys',
      operationId: 'createKey',
      summary: 'Create an API key; its secret is shown this once',
      tag,
      scope: 'admin',
      body: KeyCreateRequest,
      idempotent: true,
      responses: { 201: { description: 'The key with its secret', schema: Key } },
      async handle({ services, principal, body, idempotencyKey }) {
        if (body.expiresAt !== undefined && Date.parse(body.expiresAt) <= context.clock.now()) {
          throw new NexusError('invalid_request', 'body: expiresAt: expected a time in the future');
        }
        const key = await services.keys.create(principal, body, idempotencyKey === null ? {} : { idempotencyKey });
        return { status: 201, body: key, replayed: key.secret === undefined };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/keys',
      operationId: 'listKeys',
      summary: 'List API keys, without secrets',
      tag,
      scope: 'admin',
      query: pageQuery,
      responses: { 200: { description: 'A page of keys', schema: page(Key) } },
      handle: async ({ services, principal, query }) => ({ status: 200, body: await services.keys.list(principal, pageRequest(query)) }),
    }),
    route({
      method: 'DELETE',
      path: '/v1/keys/{key}',
      operationId: 'revokeKey',
      summary: 'Revoke an API key at once',
      tag,
      scope: 'admin',
      params: { key: 'key' },
      responses: { 204: { description: 'Revoked' } },
      async handle({ services, principal, params }) {
        await services.keys.revoke(principal, params.key ?? '');
        return { status: 204 };
      },
    }),
  ];
}
