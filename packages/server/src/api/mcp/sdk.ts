/** The protocol's own library, which is large: loaded with the first request, so that who uses no MCP starts without it. */
export type Sdk = typeof import('@modelcontextprotocol/server');

export function loadSdk(): Promise<Sdk> {
  return import('@modelcontextprotocol/server');
}
