/** The Model Context Protocol: this platform as a server of it. */
export { createMcpEndpoint, type McpEndpoint } from './endpoint.ts';
export { createPlatformSurface } from './platform.ts';
export type { McpCall, McpSurface } from './surface.ts';
