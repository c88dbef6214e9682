import type { McpLoginState, McpServer, McpServerInspection, TenantId } from '@nexus-agent/protocol';
import { type Clock, NexusError, toTimestamp } from '#core';
import type { ToolSourceStore } from '#storage';
import type { McpAdministration, McpLogins } from '#tools/contract';
import { failureOf, type McpConnection } from './connection.ts';
import { type KeptServer, type McpContent, serverFromRow, serverPlace } from './content.ts';
import { createDeclaredAdditions, neverSeen, requireFreeName, standingOf, stateOfServer } from './declared.ts';
import { fingerprintOf, type ListedTool } from './pins.ts';
import type { Reach } from './reach.ts';
import { contentOf, type Register } from './register.ts';
import type { ServerOfTenant } from './source.ts';
import { judgeTools } from './taken-tools.ts';

interface Seen {
  readonly live: NonNullable<McpServerInspection['live']>;
  readonly listed: readonly ListedTool[];
  readonly offers: McpContent['offers'];
}

export function createMcpAdministration({
  store,
  register,
  reach,
  serversOf,
  onReached,
  clock,
  closing,
  logins,
}: {
  readonly store: ToolSourceStore;
  readonly register: Register;
  readonly reach: Reach;
  readonly serversOf: (tenantId: TenantId) => Promise<readonly ServerOfTenant[]>;
  /** Told when a person's look at a server has succeeded. */
  readonly onReached: (tenantId: TenantId, name: string) => void;
  readonly clock: Clock;
  readonly closing: AbortSignal;
  readonly logins: McpLogins;
}): McpAdministration {
  const shown = async (server: KeptServer) => viewOf(server, await reach.oauth.stateOf(server));

  /** Asks the server over a connection of its own, which is closed again. */
  async function look(server: KeptServer, signal: AbortSignal): Promise<Seen> {
    const during = AbortSignal.any([signal, closing]);
    let connection: McpConnection | undefined;
    try {
      connection = await reach.open(server, () => undefined, during);
      const listed = await connection.listTools(during);
      const prompts = await connection.listPrompts(during);
      const resources = await connection.listResources(during);
      const { server: name, protocolVersion, hasResources, hasPrompts } = connection;
      onReached(server.tenantId, server.name);
      return {
        live: {
          ...{ server: name, protocolVersion, fingerprint: fingerprintOf(listed) },
          prompts: prompts.map(({ name }) => name),
          resources: resources.map(({ uri }) => uri),
        },
        listed,
        offers: { resources: hasResources, prompts: hasPrompts },
      };
    } catch (error) {
      during.throwIfAborted();
      const failure = failureOf(error).error;
      if (connection?.lastWords === undefined || !connection.hasEnded()) throw failure;
      await connection.close();
      throw new NexusError(failure.code, `${failure.message} (${await connection.lastWords()})`, { cause: error });
    } finally {
      await connection?.close();
    }
  }

  /** @param first Whether it was only looked at for the first time: what a person has approved by now stands. */
  async function approveAs(server: KeptServer, { live, listed, offers }: Seen, first: boolean): Promise<McpServerInspection> {
    const { tenantId, name, definition } = server;
    const kept = await register.change(tenantId, name, (now) => {
      if (now === null || serverPlace(now.definition) !== serverPlace(definition))
        throw new NexusError('conflict', `the MCP server ${name} was put anew or removed meanwhile; inspect it again`);
      if (first && now.pins !== null) return null;
      return { createdAt: now.createdAt, content: { ...contentOf(now), pins: [...listed], pending: [], offers } };
    });
    const noted = first ? await register.note(kept ?? server, listed) : kept;
    return { ...(await shown(noted ?? server)), live };
  }

  /** What a server that cannot be asked is answered with. */
  async function orFault(
    server: KeptServer,
    signal: AbortSignal,
    work: (seen: Seen) => Promise<McpServerInspection>,
  ): Promise<McpServerInspection> {
    let seen: Seen;
    try {
      seen = await look(server, signal);
    } catch (error) {
      if (signal.aborted || closing.aborted || !(error instanceof NexusError)) throw error;
      return { ...(await shown(server)), live: null, fault: error.message };
    }
    return work(seen);
  }

  const inspectKept = (server: KeptServer, signal: AbortSignal) =>
    orFault(server, signal, async ({ live, listed }) => ({ ...(await shown(await register.note(server, listed))), live }));

  const additions = createDeclaredAdditions({ register, reach, clock });

  return {
    logins,
    async list(tenantId, page) {
      const { items, nextCursor } = await store.listToolSources(tenantId, 'mcp', page);
      return { data: await Promise.all(items.map((row) => shown(serverFromRow(row)))), nextCursor };
    },
    async put(tenantId, name, definition, signal) {
      requireFreeName(name);
      reach.check(tenantId, definition);
      if (definition.auth !== undefined) await reach.oauth.requireKey();
      const former = await register.find(tenantId, name).catch(() => null); // what cannot be read is put anew
      let isKnown = false;
      const kept = await register.change(tenantId, name, (before) => {
        isKnown = before !== null && serverPlace(before.definition) === serverPlace(definition) && before.pins !== null;
        const content = isKnown && before !== null ? contentOf(before) : neverSeen;
        return { createdAt: before?.createdAt ?? clock.now(), content: { ...content, definition } };
      });
      if (kept === null) throw new NexusError('internal', 'a server that was put is not there');
      if (former !== null && reach.oauth.keyOf(former).place !== reach.oauth.keyOf(kept).place) await reach.oauth.forget(former);
      if (isKnown) return inspectKept(kept, signal);
      // What is seen first is approved: whoever adds a server means what it is now.
      return orFault(kept, signal, (seen) => approveAs(kept, seen, true));
    },
    async ensure(tenantId, servers, agent, signal) {
      for (const server of servers) await additions.requirePossible(tenantId, server, agent);
      if (servers.some(({ definition }) => definition.auth !== undefined)) await reach.oauth.requireKey();
      const kept: KeptServer[] = [];
      for (const server of servers) kept.push(await additions.add(tenantId, server, agent));
      return Promise.all(
        kept.map((each) =>
          each.pins === null
            ? orFault(each, signal, (seen) => approveAs(each, seen, true))
            : shown(each).then((view) => ({ ...view, live: null })),
        ),
      );
    },
    async standing(tenantId, declared) {
      const servers = new Map((await serversOf(tenantId)).map((server) => [server.kept.name, server]));
      return declared.map((each) => standingOf(each, servers.get(each.name)));
    },
    inspect: async (tenantId, name, signal) => inspectKept(await register.require(tenantId, name), signal),
    async approve(tenantId, name, { fingerprint }, signal) {
      const server = await register.require(tenantId, name);
      const seen = await look(server, signal);
      if (fingerprint !== undefined && seen.live.fingerprint !== fingerprint)
        throw new NexusError('conflict', `the MCP server ${name} lists other tools than those of ${fingerprint}; inspect it again`);
      return approveAs(server, seen, false);
    },
    async remove(tenantId, name) {
      const former = await register.find(tenantId, name).catch(() => null); // what cannot be read can be removed
      await register.remove(tenantId, name);
      if (former !== null) await reach.oauth.forget(former);
    },
  };
}

function viewOf(server: KeptServer, login: McpLoginState | undefined): McpServer {
  const { name, version, createdAt, definition, addedWith } = server;
  return {
    ...{ name, version, createdAt: toTimestamp(createdAt), definition },
    state: stateOfServer(server),
    tools: [...judgeTools(server).tools],
    ...(addedWith === undefined ? {} : { addedWith }),
    ...(login === undefined ? {} : { login }),
  };
}
