import type { Page, Session, SessionCreateRequest } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type CreateOptions, type PageOptions, paging } from '../calls.ts';
import { listMessages } from './messages.ts';

const path = '/v1/sessions';

export function sessions(calls: Calls) {
  return {
    create: (request: SessionCreateRequest = {}, call?: CreateOptions) => calls.create<Session>(path, request, call),
    get: (id: string, call?: CallOptions) => calls.get<Session>(at(path, id), {}, call),
    list: (page: PageOptions = {}) => calls.get<Page<Session>>(path, paging(page), page),
    /** Its live runs are cancelled and no new one may start. */
    close: (id: string, call?: CallOptions) => calls.act<void>('POST', at(path, id, '/close'), {}, call),
    /** Deletes it with everything of it, once its live runs, which are cancelled, have ended: then the closed session is the answer. */
    delete: (id: string, call?: CallOptions) => calls.act<Session | undefined>('DELETE', at(path, id), undefined, call),
    messages: listMessages(calls),
  };
}
