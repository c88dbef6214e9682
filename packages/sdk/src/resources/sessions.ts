import type { Page, Session, SessionCreateRequest, SessionFile } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type CreateOptions, type PageOptions, paging } from '../calls.ts';
import type { Transport } from '../transport.ts';
import { listMessages } from './messages.ts';

const path = '/v1/sessions';

export interface FileOptions extends CallOptions {
  /** The files that this run works on, instead of those of the session: a fork has its own. */
  readonly run?: string;
}

export function sessions(calls: Calls, transport: Transport) {
  return {
    create: (request: SessionCreateRequest = {}, call?: CreateOptions) => calls.create<Session>(path, request, call),
    get: (id: string, call?: CallOptions) => calls.get<Session>(at(path, id), {}, call),
    list: (page: PageOptions = {}) => calls.get<Page<Session>>(path, paging(page), page),
    /** Its live runs are cancelled and no new one may start. */
    close: (id: string, call?: CallOptions) => calls.act<void>('POST', at(path, id, '/close'), {}, call),
    /** Deletes it with everything of it, once its live runs, which are cancelled, have ended: then the closed session is the answer. */
    delete: (id: string, call?: CallOptions) => calls.act<Session | undefined>('DELETE', at(path, id), undefined, call),
    messages: listMessages(calls),
    files: (id: string, page: PageOptions & FileOptions = {}) =>
      calls.get<Page<SessionFile>>(at(path, id, '/files'), { ...paging(page), run: page.run }, page),
    /** A file's content, as an answer that can be read as a stream, text or bytes. Reading rejects when the content breaks off. */
    file: (id: string, file: string, { run, signal }: FileOptions = {}): Promise<Response> =>
      transport.send(at(path, id, '/files/content'), {
        query: { path: file, run },
        repeatable: true,
        ...(signal === undefined ? {} : { signal }),
      }),
  };
}
