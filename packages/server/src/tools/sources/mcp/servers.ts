import { type Clock, NexusError, type Timers } from '#core';
import type { McpGrantStore, ToolSourceStore } from '#storage';
import type { McpAdministration, ToolSource } from '#tools/contract';
import { hostnameOf, portOf } from '#tools/net';
import type { ProgramStates } from '../program-states.ts';
import { createMcpAdministration } from './administration.ts';
import { createMcpConnections, type McpConnectionsOptions } from './connections.ts';
import { createHeldCalls, type HeldCallsOptions } from './held-calls.ts';
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
  /** What is kept of calls that wait for an answer to what their server asks. */
  readonly states: ProgramStates;
  readonly isRunOver: HeldCallsOptions['isRunOver'];
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
  const held = createHeldCalls(options);
  const asking = { ...options, held };
  const isGranted = (url: URL) => options.allowPrivate?.(hostnameOf(url), portOf(url)) === true;
  const source = createMcpSource({ ...options, register, reach, connections, closing, asking, isGranted });
  const logins = createLogins({ ...options, oauth: reach.oauth, register, reach, closing });
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
      logins,
    }),
    async close() {
      controller.abort(new NexusError('unavailable', 'the MCP servers are closed'));
      held.close();
      await connections.close();
      await reach.oauth.close();
      await source.settled();
    },
  };
}
