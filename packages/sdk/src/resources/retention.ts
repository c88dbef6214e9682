import type { Page, RetentionRow } from '@nexus-agent/protocol';
import type { CallOptions, Calls } from '../calls.ts';

const path = '/v1/retention';

export function retention(calls: Calls) {
  return {
    /** What `prune` would delete. */
    preview: (call?: CallOptions) => calls.get<Page<RetentionRow>>(path, {}, call),
    prune: (call?: CallOptions) => calls.act<Page<RetentionRow>>('POST', `${path}/prune`, {}, call),
  };
}
