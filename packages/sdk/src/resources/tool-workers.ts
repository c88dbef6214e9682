import type { Page, ToolPool, ToolWorkerInfo } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';
import type { DefinedTool } from '../tools/define-tool.ts';
import { type ServeToolsOptions, serveToolsOver, type ToolWorker } from '../tools/serve-tools.ts';
import type { Transport } from '../transport.ts';

export function toolWorkers(calls: Calls, transport: Transport) {
  return {
    /** See {@link serveTools}. */
    serve: (tools: readonly DefinedTool[], options?: ServeToolsOptions): ToolWorker => serveToolsOver(transport, tools, options),
    list: (call?: CallOptions) => calls.get<Page<ToolWorkerInfo>>('/v1/tool-workers', {}, call),
    pools: (page: PageOptions = {}) => calls.get<Page<ToolPool>>('/v1/tool-pools', paging(page), page),
    removePool: (name: string, call?: CallOptions) => calls.act<void>('DELETE', at('/v1/tool-pools', name), undefined, call),
  };
}
