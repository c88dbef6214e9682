import type {
  ChatRequest,
  ClientCall,
  ClientToolResult,
  DecisionRecord,
  Page,
  ReplayResult,
  Run,
  RunForkRequest,
  RunStatus,
  WireEvent,
} from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type CreateOptions, type PageOptions, paging } from '../calls.ts';
import { type StreamOptions, streamRun } from '../run-stream.ts';
import type { Transport } from '../transport.ts';

const path = '/v1/runs';

export function runs(calls: Calls, transport: Transport) {
  return {
    create: (request: ChatRequest, call?: CreateOptions) => calls.create<Run>(path, request, call),
    get: (id: string, call?: CallOptions) => calls.get<Run>(at(path, id), {}, call),
    list: (filter: PageOptions & { sessionId?: string; status?: RunStatus } = {}) =>
      calls.get<Page<Run>>(path, { ...paging(filter), sessionId: filter.sessionId, status: filter.status }, filter),
    cancel: (id: string, reason?: string, call?: CallOptions) =>
      calls.act<Run>('POST', at(path, id, '/cancel'), reason === undefined ? {} : { reason }, call),
    resume: (id: string, call?: CallOptions) => calls.act<Run>('POST', at(path, id, '/resume'), {}, call),
    fork: (id: string, request: RunForkRequest = {}, call?: CreateOptions) => calls.create<Run>(at(path, id, '/fork'), request, call),
    /** The calls of client tools that wait for a result. */
    clientCalls: (id: string, call?: CallOptions) => calls.get<Page<ClientCall>>(at(path, id, '/tool-results'), {}, call),
    /** Gives the result of a call of a client tool, however often it has to be sent; a 409 says that it has another or is not waited for. */
    giveResult: (id: string, callId: string, result: ClientToolResult, call?: CallOptions) =>
      calls.act<Run>('PUT', at(at(path, id, '/tool-results'), callId), result, call),
    replay: (id: string, call?: CallOptions) => calls.act<ReplayResult>('POST', at(path, id, '/replay'), {}, call),
    /** One page of the journal; live parts are only on the stream. */
    events: (id: string, page: CallOptions & { limit?: number; after?: string } = {}) =>
      calls.get<Page<WireEvent>>(at(path, id, '/events'), { limit: page.limit, after: page.after }, page),
    decisions: (id: string, page: PageOptions = {}) => calls.get<Page<DecisionRecord>>(at(path, id, '/decisions'), paging(page), page),
    /** Follows a run from its beginning, or from after an event id, to its end. */
    stream(id: string, { after, ...stream }: StreamOptions & { after?: string } = {}): AsyncGenerator<WireEvent> {
      const open = (signal: AbortSignal) =>
        transport.send(at(path, id, '/events'), {
          headers: { accept: 'text/event-stream', ...(after === undefined ? {} : { 'last-event-id': after }) },
          signal,
          repeatable: true,
        });
      return streamRun(transport, { open, runId: id, ...(after === undefined ? {} : { after }) }, stream);
    },
  };
}
