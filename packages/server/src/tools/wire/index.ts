/** The door of the tool service over gRPC: an agent core as a service of its own, and its callers. Only composition roots know it. */
export { type ClientTls, createRemoteTools } from './client.ts';
export { type ServerTls, startToolServer, type ToolServer } from './server.ts';
