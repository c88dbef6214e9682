import type { Page, UsageBy, UsageRow } from '@nexus-agent/protocol';
import { type Calls, type PageOptions, paging } from '../calls.ts';

export interface UsageFilter extends PageOptions {
  /** Default: `day`. */
  readonly by?: UsageBy;
  /** UTC days, such as `2026-11-22`; both are in it. */
  readonly from?: string;
  readonly to?: string;
  /** So many days up to `to`; default: 30. */
  readonly days?: number;
}

export function usage(calls: Calls) {
  return ({ by, from, to, days, ...page }: UsageFilter = {}) =>
    calls.get<Page<UsageRow>>('/v1/usage', { by, from, to, days, ...paging(page) }, page);
}
