import { type NexusClient, transportOf } from '../client.ts';
import type { DefinedTool } from './define-tool.ts';
import { type ServeToolsOptions, serveToolsOver, type ToolWorker } from './serve-tools.ts';

export type { ServeToolsOptions, ToolWorker };

/**
 * Serves tools from this process: it connects to the server, so that nothing has to reach it, and works until it is closed.
 *
 * Throws a `TypeError` for two tools of one name. What the server refuses rejects {@link ToolWorker.ready} and `closed`.
 */
export function serveTools(client: NexusClient, tools: readonly DefinedTool[], options: ServeToolsOptions = {}): ToolWorker {
  const names = tools.map(({ declared }) => declared.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new TypeError(`two tools are named ${twice}; rename one`);
  return serveToolsOver(transportOf(client), tools, options);
}
