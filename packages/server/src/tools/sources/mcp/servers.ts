import { type Clock, NexusError, type Timers } from '#core';
import type { McpGrantStore, ToolSourceStore } from '#storage';
import type { McpAdministration, ToolSource } from '#tools/contract';
import { createMcpAdministration } from './administration.ts';
import { createMcpConnections, type McpConnectionsOptions } from './connections.ts';
import { createLogins } from './logins.ts';
import { createReach, type ReachOptions } from './reach.ts';
import { createRegister, type OnNotice } from './register.ts';
import { createMcpSource } from './source.ts';

export interface McpServersOptions extends ReachOptions, McpConnectionsOptions {
  readonly store: ToolSourceStore & McpGrantStore;
  /** How long a person may take to log in. */
  readonly loginMs: number;
  /** Where browsers reach this server; undefined: on this machine only. */
  readonly publicUrl: string | undefined;
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
  const logins = createLogins({ ...options, oauth: reach.oauth, register, reach, closing });
  return {
    source,
    administration: createMcpAdministration({ store, register, reach, clock, closing, logins }),
    async close() {
      controller.abort(new NexusError('unavailable', 'the MCP servers are closed'));
      await connections.close();
      await reach.oauth.close();
      await source.settled();
    },
  };
}
