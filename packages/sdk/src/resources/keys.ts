import type { Key, KeyCreateRequest, Page } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type CreateOptions, type PageOptions, paging } from '../calls.ts';

const path = '/v1/keys';

/** The server fills in the scopes. */
type KeyInput = Omit<KeyCreateRequest, 'scopes' | 'roles'> & Partial<Pick<KeyCreateRequest, 'scopes' | 'roles'>>;

export function keys(calls: Calls) {
  return {
    create: (request: KeyInput, call?: CreateOptions) => calls.create<Key>(path, request, call),
    /** `tenant`: of an owner, whose if not of their own tenant. */
    list: (filter: PageOptions & { tenant?: string } = {}) =>
      calls.get<Page<Key>>(path, { ...paging(filter), tenant: filter.tenant }, filter),
    revoke: (id: string, call?: CallOptions) => calls.act<void>('DELETE', at(path, id), undefined, call),
  };
}
