import type { AgentDefinition, TenantId } from '@nexus-agent/protocol';
import { NexusError, type Timers } from '#core';
import { operatorTenant } from '#policy';
import type { Logger } from '#telemetry';
import { type DeclaredServer, type McpAdministration, readDeclaredServers } from '#tools';

export interface FollowAgentServersOptions {
  readonly mcp: Pick<McpAdministration, 'ensure'>;
  readonly timers: Pick<Timers, 'sleep'>;
  readonly logger: Logger;
  /** Nothing is added: the process only looks. */
  readonly onlyLooks: boolean;
  /** How long is waited before a server that could not be reached is tried again: as often as there are pauses. */
  readonly pausesMs?: readonly number[];
}

/** The MCP servers that agents of files declare, as the operator's. */
export interface FollowedAgentServers {
  /**
   * Adds what the operator's tenant does not have, in the background: nothing waits for a server. What an earlier call still had to do is
   * given up. What agents no longer declare stays. Never throws: what is wrong goes to the log.
   */
  follow(agents: readonly AgentDefinition[]): void;
  /** Resolves when nothing is under way any more. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

interface Wanted {
  readonly agent: string;
  readonly server: DeclaredServer;
}

const tenant = operatorTenant as TenantId;
const atOnce = 4;
const usualPausesMs = [2_000, 10_000, 60_000];

export function followAgentServers({
  mcp,
  timers,
  logger,
  onlyLooks,
  pausesMs = usualPausesMs,
}: FollowAgentServersOptions): FollowedAgentServers {
  let controller = new AbortController();
  let isClosed = false;
  let work: Promise<void> = Promise.resolve();

  /** Whether it has its tools. */
  async function add({ agent, server }: Wanted, signal: AbortSignal): Promise<boolean> {
    const about = { agent, server: server.name };
    for (const pauseMs of [...pausesMs, null]) {
      try {
        const [added] = await mcp.ensure(tenant, [server], agent, signal);
        if (added?.fault === undefined) {
          if (added?.live != null)
            logger.info(
              { ...about, tools: added.tools.length },
              'an MCP server of an agent is there, its tools approved as it lists them now',
            );
          return true;
        }
        if (pauseMs === null) {
          const help = `no tools of it until a person approves them: nexus mcp approve ${server.name}`;
          logger.warn({ ...about, why: added.fault }, `an MCP server of an agent could not be reached; ${help}`);
          return false;
        }
        logger.warn({ ...about, why: added.fault, nextMs: pauseMs }, 'an MCP server of an agent could not be reached; it is tried again');
      } catch (error) {
        if (signal.aborted) throw error;
        const mayPass = error instanceof NexusError && error.retryable;
        if (!mayPass || pauseMs === null) {
          logger.warn({ ...about, err: error }, 'an MCP server of an agent cannot be added; the agent has no tools of it');
          return false;
        }
      }
      await timers.sleep(pauseMs ?? 0, signal);
    }
    return false;
  }

  async function addAll(wanted: readonly Wanted[], signal: AbortSignal): Promise<void> {
    const left = [...wanted];
    let ready = 0;
    const worker = async () => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) if (await add(next, signal)) ready += 1;
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    logger.info({ ready, without: wanted.length - ready }, 'the MCP servers that agents declare were looked at');
  }

  return {
    follow(agents) {
      controller.abort(new NexusError('cancelled', 'the agents have changed'));
      controller = new AbortController();
      if (isClosed || onlyLooks) return;
      const wanted = agents.flatMap(({ name: agent, mcpServers }) => {
        const { servers, notes } = readDeclaredServers(mcpServers);
        if (notes.length > 0) logger.warn({ agent, notes }, 'not everything of the MCP servers of an agent counts here');
        return servers.filter(({ isDisabled }) => !isDisabled).map((server) => ({ agent, server }));
      });
      if (wanted.length === 0) return;
      const { signal } = controller;
      logger.info(
        { servers: wanted.map(({ server }) => server.name) },
        'the MCP servers that agents declare are looked at in the background',
      );
      const before = work;
      work = before
        .then(() => addAll(wanted, signal))
        .catch((error: unknown) => {
          if (!signal.aborted) logger.warn({ err: error }, 'the MCP servers that agents declare could not be looked at');
        });
    },
    settled: () => work,
    async close() {
      isClosed = true;
      controller.abort(new NexusError('unavailable', 'the server is shutting down'));
      await work;
    },
  };
}
