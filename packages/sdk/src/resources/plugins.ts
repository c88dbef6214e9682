import type { Page, Plugin, PluginInstallRequest } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';

const path = '/v1/plugins';

export function plugins(calls: Calls) {
  return {
    list: (filter: PageOptions = {}) => calls.get<Page<Plugin>>(path, paging(filter), filter),
    /** Shows the plugin of a `.tgz` in base64; with its digest as `accept` it is installed. */
    put: (request: Omit<PluginInstallRequest, 'allowUnsigned'> & Partial<PluginInstallRequest>, call?: CallOptions) =>
      calls.act<Plugin>('PUT', path, request, call),
    remove: (name: string, call?: CallOptions) => calls.act<void>('DELETE', at(path, name), undefined, call),
  };
}
