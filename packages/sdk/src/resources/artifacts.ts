import type { Artifact, Page } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';
import type { Transport } from '../transport.ts';

const path = '/v1/artifacts';

export interface ArtifactOptions extends PageOptions {
  readonly sessionId?: string;
  readonly runId?: string;
}

/** Results of tools that were too long for a prompt. */
export function artifacts(calls: Calls, transport: Transport) {
  return {
    /** The newest first. */
    list: ({ sessionId, runId, ...page }: ArtifactOptions = {}) =>
      calls.get<Page<Artifact>>(path, { ...paging(page), sessionId, runId }, page),
    get: (id: string, call?: CallOptions) => calls.get<Artifact>(at(path, id), {}, call),
    /** All that is kept of it, as an answer that can be read as a stream, text or bytes. Reading rejects when the content breaks off. */
    content: (id: string, { signal }: CallOptions = {}): Promise<Response> =>
      transport.send(at(path, id, '/content'), { repeatable: true, ...(signal === undefined ? {} : { signal }) }),
  };
}
