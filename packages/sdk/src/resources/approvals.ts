import type { Approval, ApprovalAnswer, Page } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';

const path = '/v1/approvals';

export function approvals(calls: Calls) {
  return {
    list: (filter: PageOptions & { status?: Approval['status'] } = {}) =>
      calls.get<Page<Approval>>(path, { ...paging(filter), status: filter.status }, filter),
    get: (id: string, call?: CallOptions) => calls.get<Approval>(at(path, id), {}, call),
    answer: (id: string, answer: ApprovalAnswer, call?: CallOptions) => calls.act<Approval>('POST', at(path, id), answer, call),
  };
}
