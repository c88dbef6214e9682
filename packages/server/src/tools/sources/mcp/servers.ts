import { type Clock, NexusError, type Timers } from '#core';
import type { ToolSourceStore } from '#storage';
import type { McpAdministration, ToolSource } from '#tools/contract';
import { createMcpAdministration } from './administration.ts';
import { createMcpConnections, type McpConnectionsOptions } from './connections.ts';
import { createReach, type ReachOptions } from './reach.ts';
import { createRegister, type OnNotice } from './register.ts';
import { createMcpSource } from './source.ts';

export interface McpServersOptions extends ReachOptions, McpConnectionsOptions {
  readonly store: ToolSourceStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly onNotice: OnNotice;
}

/** MCP servers as a source of tools, and what people do with them. */
export interface McpServersOfNode {
  readonly source: ToolSource;
  readonly administration: McpAdministration;
  close(): Promise<void>;
}

export function createMcpServers(options: McpServersOptions): McpServersOfNode {
  const { store, clock, onNotice } = options;
  const controller = new AbortController();
  const closing = controller.signal;
  const reach = createReach(options);
  const connections = createMcpConnections(options);
  const register = createRegister({ store, onNotice, onChange: (tenantId) => source.forget(tenantId) });
  const source = createMcpSource({ ...options, register, reach, connections, closing });
  return {
    source,
    administration: createMcpAdministration({
      store,
      register,
      reach,
      clock,
      closing,
      serversOf: source.servers,
      onReached: connections.forgive,
    }),
    async close() {
      controller.abort(new NexusError('unavailable', 'the MCP servers are closed'));
      await connections.close();
      await source.settled();
    },
  };
}
