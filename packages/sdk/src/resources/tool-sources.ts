import type { HttpToolSourceInput, Page, StoredToolSource, ToolSourceInfo } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';

/** Where tools come from, by kind. */
export function toolSources(calls: Calls) {
  return { http: sourcesOf<HttpToolSourceInput>(calls, 'http') };
}

function sourcesOf<Input extends { readonly name: string }>(calls: Calls, kind: ToolSourceInfo['kind']) {
  const path = `/v1/tool-sources/${kind}`;
  return {
    list: (page: PageOptions = {}) => calls.get<Page<ToolSourceInfo>>(path, paging(page), page),
    get: (name: string, call?: CallOptions) => calls.get<StoredToolSource<Input>>(at(path, name), {}, call),
    /** In the place of one of its name; `warnings` say what will not work as it is. */
    put: (definition: Input, call?: CallOptions) => calls.act<StoredToolSource<Input>>('PUT', at(path, definition.name), definition, call),
    delete: (name: string, call?: CallOptions) => calls.act<void>('DELETE', at(path, name), undefined, call),
  };
}
