import { Plugin, PluginInstallRequest, PluginKey, PluginKeyRequest, page } from '@nexus-agent/protocol';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';

const tag = 'plugins';

export function pluginRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/plugins',
      operationId: 'listPlugins',
      summary: 'List the plugins that are installed',
      tag,
      scope: 'admin',
      asks: { action: 'admin.read', part: 'tools' },
      query: pageQuery,
      responses: { 200: { description: 'A page of plugins', schema: page(Plugin) } },
      handle: async ({ services, principal, query }) => ({ status: 200, body: await services.plugins.list(principal, pageRequest(query)) }),
    }),
    route({
      method: 'PUT',
      path: '/v1/plugins',
      operationId: 'putPlugin',
      summary: 'Show what a plugin asks for, or with that accepted install it in the place of another version',
      tag,
      scope: 'admin',
      asks: {
        action: 'admin.tools',
        part: 'tools',
        arguments: ({ accept, allowUnsigned, allowDowngrade }) => ({
          ...{ kind: 'plugin', allowUnsigned, allowDowngrade },
          ...(accept === undefined ? {} : { accept }),
        }),
      },
      body: PluginInstallRequest,
      bodySize: 'input',
      responses: { 200: { description: 'The plugin', schema: Plugin } },
      handle: async (call) => ({ status: 200, body: await call.services.plugins.install(call.principal, call.body, call.signal()) }),
    }),
    route({
      method: 'DELETE',
      path: '/v1/plugins/{plugin}',
      operationId: 'deletePlugin',
      summary: 'Remove a plugin; calls that run end as they began',
      tag,
      scope: 'admin',
      asks: { action: 'admin.tools', part: 'tools' },
      params: { plugin: 'name' },
      responses: { 204: { description: 'Removed' } },
      async handle({ services, principal, params }) {
        await services.plugins.remove(principal, params.plugin ?? '');
        return { status: 204 };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/plugin-keys',
      operationId: 'listPluginKeys',
      summary: "List the keys whose plugins are trusted, the operator's first, and those that were revoked",
      tag,
      scope: 'admin',
      asks: { action: 'admin.read', part: 'tools' },
      query: pageQuery,
      responses: { 200: { description: 'A page of keys', schema: page(PluginKey) } },
      handle: async ({ services, principal, query }) => ({
        status: 200,
        body: await services.pluginKeys.list(principal, pageRequest(query)),
      }),
    }),
    route({
      method: 'PUT',
      path: '/v1/plugin-keys',
      operationId: 'putPluginKey',
      summary: 'Trust a key for the plugins of this tenant, or revoke one',
      tag,
      scope: 'admin',
      asks: {
        action: 'admin.tools',
        part: 'tools',
        arguments: ({ publicKey, name, state }) => ({ kind: 'plugin-key', publicKey, name, state }),
      },
      body: PluginKeyRequest,
      responses: { 200: { description: 'The key', schema: PluginKey } },
      handle: async ({ services, principal, body }) => ({ status: 200, body: await services.pluginKeys.put(principal, body) }),
    }),
    route({
      method: 'DELETE',
      path: '/v1/plugin-keys/{key}',
      operationId: 'deletePluginKey',
      summary: 'Forget what was said of a key; what it signed, and was installed for that, is refused from then on',
      tag,
      scope: 'admin',
      asks: { action: 'admin.tools', part: 'tools' },
      params: { key: 'name' },
      responses: { 204: { description: 'Forgotten' } },
      async handle({ services, principal, params }) {
        await services.pluginKeys.remove(principal, params.key ?? '');
        return { status: 204 };
      },
    }),
  ];
}
