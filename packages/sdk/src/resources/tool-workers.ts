import type { Page, ToolPool, ToolWorkerInfo } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';

/** The workers that are connected, and their pools; `serveTools` makes one of this process. */
export function toolWorkers(calls: Calls) {
  return {
    list: (call?: CallOptions) => calls.get<Page<ToolWorkerInfo>>('/v1/tool-workers', {}, call),
    pools: (page: PageOptions = {}) => calls.get<Page<ToolPool>>('/v1/tool-pools', paging(page), page),
    removePool: (name: string, call?: CallOptions) => calls.act<void>('DELETE', at('/v1/tool-pools', name), undefined, call),
  };
}
