import type { DefinitionKind, DefinitionOverview, DefinitionSet } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls } from '../calls.ts';

const path = '/v1/definitions';

export function definitions(calls: Calls) {
  return {
    /** What the operator's policies and agents are, and which nodes follow them. */
    get: (call?: CallOptions) => calls.get<DefinitionOverview>(path, undefined, call),
    /** Makes what lies in the folder of the node that answers the active version, also if it has been so before. */
    import: (kind: DefinitionKind, request: { readonly allowEmpty?: boolean } = {}, call?: CallOptions) =>
      calls.act<DefinitionSet>('POST', at(path, kind, '/import'), request, call),
  };
}
