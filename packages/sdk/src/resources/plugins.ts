import type { Page, Plugin, PluginInstallRequest, PluginKey, PluginKeyRequest } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';

const path = '/v1/plugins';
const keysPath = '/v1/plugin-keys';

type Install = Pick<PluginInstallRequest, 'package'> & Partial<PluginInstallRequest>;
type TrustKey = Omit<PluginKeyRequest, 'state'> & Partial<PluginKeyRequest>;

export function plugins(calls: Calls) {
  return {
    list: (filter: PageOptions = {}) => calls.get<Page<Plugin>>(path, paging(filter), filter),
    /** Shows the plugin of a `.tgz` in base64; with its digest as `accept` it is installed. */
    put: (request: Install, call?: CallOptions) => calls.act<Plugin>('PUT', path, request, call),
    remove: (name: string, call?: CallOptions) => calls.act<void>('DELETE', at(path, name), undefined, call),
    /** Whose signatures count: the operator's keys, and those of the tenant. */
    keys: {
      list: (filter: PageOptions = {}) => calls.get<Page<PluginKey>>(keysPath, paging(filter), filter),
      /** Trusts a key, or with the state `revoked` refuses all that it signed. */
      put: (request: TrustKey, call?: CallOptions) => calls.act<PluginKey>('PUT', keysPath, request, call),
      /** Forgets what was said of a key. */
      remove: (fingerprint: string, call?: CallOptions) => calls.act<void>('DELETE', at(keysPath, fingerprint), undefined, call),
    },
  };
}
