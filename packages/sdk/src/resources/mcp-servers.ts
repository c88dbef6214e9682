import type { McpLogin, McpLoginState, McpServer, McpServerDefinition, McpServerInspection, Page } from '@nexus-agent/protocol';
import { at, type CallOptions, type Calls, type PageOptions, paging } from '../calls.ts';

const path = '/v1/mcp-servers';

/** The server fills in what is left out. */
type McpServerInput = Partial<Omit<McpServerDefinition, 'transport'>> & {
  readonly transport:
    | Filled<Extract<McpServerDefinition['transport'], { type: 'http' }>, 'type' | 'url'>
    | Filled<Extract<McpServerDefinition['transport'], { type: 'stdio' }>, 'type' | 'command'>;
};

type Filled<Whole, Needed extends keyof Whole> = Pick<Whole, Needed> & Partial<Whole>;

export function mcpServers(calls: Calls) {
  return {
    list: (page: PageOptions = {}) => calls.get<Page<McpServer>>(path, paging(page), page),
    put: (name: string, definition: McpServerInput, call?: CallOptions) =>
      calls.act<McpServerInspection>('PUT', at(path, name), definition, call),
    /** Asks the MCP server what it offers now. */
    inspect: (name: string, call?: CallOptions) => calls.get<McpServerInspection>(at(path, name), {}, call),
    /** Takes its tools as it lists them now; with a fingerprint of an inspection, only if they are still those. */
    approve: (name: string, request: { readonly fingerprint?: string } = {}, call?: CallOptions) =>
      calls.act<McpServerInspection>('POST', at(path, name, '/approve'), request, call),
    /** Gives the address that a person opens in a browser to log in, and the code that they type there; {@link loginState} tells when it is done. */
    login: (name: string, call?: CallOptions) => calls.act<McpLogin>('POST', at(path, name, '/login'), undefined, call),
    loginState: (name: string, call?: CallOptions) => calls.get<McpLoginState>(at(path, name, '/login'), {}, call),
    /** Forgets the login. */
    logout: (name: string, call?: CallOptions) => calls.act<void>('POST', at(path, name, '/logout'), undefined, call),
    delete: (name: string, call?: CallOptions) => calls.act<void>('DELETE', at(path, name), undefined, call),
  };
}
