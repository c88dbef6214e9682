import type { ModelInfo, Page } from '@nexus-agent/protocol';
import type { CallOptions, Calls } from '../calls.ts';

export function models(calls: Calls) {
  return { list: (call?: CallOptions) => calls.get<Page<ModelInfo>>('/v1/models', {}, call) };
}
