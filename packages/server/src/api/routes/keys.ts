import { Key, KeyCreateRequest, page, TenantId } from '@nexus-agent/protocol';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';
import { NexusError } from '#core';
import type { RouteContext } from './context.ts';

const tag = 'keys';

const KeysQuery = pageQuery.extend({ tenant: TenantId.optional().meta({ description: 'Of an owner: whose, if not of their own tenant' }) });

export function keyRoutes(context: RouteContext): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/keys',
      operationId: 'createKey',
      summary: 'Create an API key; its secret is shown this once',
      tag,
      scope: 'admin',
      asks: { action: 'admin.keys', part: 'keys' },
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
      asks: { action: 'admin.read', part: 'keys' },
      query: KeysQuery,
      responses: { 200: { description: 'A page of keys', schema: page(Key) } },
      handle: async ({ services, principal, query }) => ({
        status: 200,
        body: await services.keys.list(principal, pageRequest(query), query.tenant),
      }),
    }),
    route({
      method: 'DELETE',
      path: '/v1/keys/{key}',
      operationId: 'revokeKey',
      summary: 'Revoke an API key at once; an owner that of any tenant',
      tag,
      scope: 'admin',
      asks: { action: 'admin.keys', part: 'keys' },
      params: { key: 'key' },
      responses: { 204: { description: 'Revoked' } },
      async handle({ services, principal, params }) {
        await services.keys.revoke(principal, params.key ?? '');
        return { status: 204 };
      },
    }),
  ];
}
