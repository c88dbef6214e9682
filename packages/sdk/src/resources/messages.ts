import type { Page, SessionMessage } from '@nexus-agent/protocol';
import { at, type Calls, type PageOptions, paging } from '../calls.ts';

/** The conversation of a session: the newest run first, within a run the oldest message first. */
export function listMessages(calls: Calls) {
  return (sessionId: string, page: PageOptions = {}) =>
    calls.get<Page<SessionMessage>>(at('/v1/sessions', sessionId, '/messages'), paging(page), page);
}
