/** For tests of MCP servers: some that want a login, an authorization server, and servers of ours that know them. */
export { browse, callbackHost, type Guarded, never, oauth, openLogin, openLoginAt, startGuarded } from '../mcp/guarded-server.testkit.ts';
export { type FakeMcpServer, startFakeMcpServer, toolOf } from '../mcp/mcp-server.testkit.ts';
export { createRows, definitionOf, startServers, type TestServers, tenant } from '../mcp/servers.testkit.ts';
