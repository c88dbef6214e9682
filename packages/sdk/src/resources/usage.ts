import type { Page, UsageRow } from '@nexus-agent/protocol';
import type { CallOptions, Calls } from '../calls.ts';

export function usage(calls: Calls) {
  return (days?: number, call?: CallOptions) => calls.get<Page<UsageRow>>('/v1/usage', { days }, call);
}
