import type { Page, ToolExecuteResult, ToolInfo } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls } from '../calls.ts';

const path = '/v1/tools';

export function tools(calls: Calls) {
  return {
    list: (call?: CallOptions) => calls.get<Page<ToolInfo>>(path, {}, call),
    execute: (name: string, request: { sessionId: string; input?: Record<string, unknown> }, call?: CallOptions) =>
      calls.act<ToolExecuteResult>('POST', at(path, name, '/execute'), request, call),
  };
}
