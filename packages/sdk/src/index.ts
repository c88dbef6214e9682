/** The door of the client. */
export type { UsageRow } from '@nexus-agent/protocol';
export type { CallOptions, CreateOptions, PageOptions } from './calls.ts';
export { createNexusClient, type NexusClient, type NexusClientOptions } from './client.ts';
export { NexusApiError } from './errors.ts';
export type { StreamOptions } from './run-stream.ts';
export { collectText, createTextAssembler, type TextAssembler, type TextChange } from './text.ts';
export { type ClientToolsOptions, executeClientTools, runWithTools } from './tools/client-tools.ts';
export { type DefinedTool, defineTool, type ToolCallContext, type ToolDefinition } from './tools/define-tool.ts';
export { type ServeToolsOptions, serveTools, type ToolWorker } from './tools/index.ts';
export type { RetryOptions } from './transport.ts';
