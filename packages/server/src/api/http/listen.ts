import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dictionary, type Key, type Page } from '@nexus-agent/protocol';
import type { FastifyInstance } from 'fastify';
import { type ApiConfig, type ApiDependencies, type Bound, localOperator } from '#api/contract';
import { NexusError } from '#core';
import type { Keys } from '#identity';
import { type ArrivalLimits, createHttp1Server } from './connections.ts';
import type { ErrorReplies } from './errors.ts';

/** Connections that may wait to be accepted. No setting: the system caps it at what it was told itself. */
const backlog = 4096;

/** Throws `config_invalid` while there is no key that a request from elsewhere could present. */
export async function requireActiveKey(
  keys: Pick<Keys, 'list'>,
  { host, nowMs }: { readonly host: string; readonly nowMs: number },
): Promise<void> {
  let cursor: string | null = null;
  do {
    const page: Page<Key> = await keys.list(localOperator, { limit: 200, ...(cursor === null ? {} : { cursor }) });
    if (page.data.some((key) => key.revokedAt === undefined && (key.expiresAt === undefined || Date.parse(key.expiresAt) > nowMs))) return;
    cursor = page.nextCursor;
  } while (cursor !== null);
  throw new NexusError(
    'config_invalid',
    `refusing to listen on ${host}: it is not a loopback address and there is no API key yet. Create one with: nexus keys create --embedded --name <name>`,
  );
}

export interface Listening extends Bound {
  /** The same API on the other address family. */
  readonly second: Server | null;
}

/** Binds the configured address; a loopback host on both address families, where the machine has both. */
export async function listen(
  app: FastifyInstance,
  config: Pick<ApiConfig, 'host' | 'port'> & SecondOptions & { readonly loopback: boolean },
  logger: ApiDependencies['logger'],
): Promise<Listening> {
  const host = boundHost(config.host);
  const port = await bind(app, host, config.port);
  const second = config.loopback && host === '127.0.0.1' ? await bindSecond(app, port, config, logger) : 'none';
  const inUrl = host.includes(':') ? `[${host}]` : host;
  const bothFamilies = host !== '127.0.0.1' || second === 'taken' ? [] : second === 'none' ? ['localhost'] : ['localhost', '[::1]'];
  return {
    url: `http://${inUrl}:${port}`,
    port,
    second: typeof second === 'string' ? null : second,
    hosts: [inUrl, ...bothFamilies],
  };
}

const unresolved = 'the name cannot be resolved; set host (NEXUS_HOST, --host) to an address of this machine, or 0.0.0.0 for all';
const bindFaults: Readonly<Record<string, string>> = dictionary({
  EACCES: 'this user may not; choose a port from 1024 on with port (NEXUS_PORT, --port)',
  EADDRNOTAVAIL: 'it is no address of this machine; set host (NEXUS_HOST, --host) to one, or 0.0.0.0 for all',
  ENOTFOUND: unresolved,
  EAI_AGAIN: unresolved,
});

/** What is said where another process listens at an address. */
export function portInUse({ host, port }: Pick<ApiConfig, 'host' | 'port'>, cause: unknown): NexusError {
  return new NexusError('unavailable', `port ${port} on ${host} is in use; stop what uses it or choose another with --port`, { cause });
}

/** A host as the system takes it. */
export function boundHost(host: string): string {
  return host === 'localhost' ? '127.0.0.1' : host.replace(/^\[|\]$/g, '');
}

async function bind(app: FastifyInstance, host: string, port: number): Promise<number> {
  try {
    await app.listen({ host, port, backlog });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    if (code === 'EADDRINUSE') throw portInUse({ host, port }, error);
    const why = bindFaults[String(code)];
    if (why === undefined) throw error;
    throw new NexusError('config_invalid', `cannot listen on ${host}:${port} (${code}): ${why}`, { cause: error });
  }
  const address = app.server.address();
  return (address as AddressInfo).port; // a server that listens on TCP has such an address
}

interface SecondOptions {
  readonly limits: ArrivalLimits;
  readonly errors: Pick<ErrorReplies, 'refuseUnreadable'>;
}

/** The same API on ::1. Machines without IPv6 do without it, and where another program has the port `localhost` may lead there. */
function bindSecond(
  app: FastifyInstance,
  port: number,
  { limits, errors }: SecondOptions,
  logger: ApiDependencies['logger'],
): Promise<Server | 'none' | 'taken'> {
  return new Promise((resolve) => {
    const server = createHttp1Server(limits, errors, (request, response) => app.routing(request, response));
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE')
        logger.warn({ port }, 'another program listens on [::1] at this port: use 127.0.0.1 instead of localhost');
      resolve(error.code === 'EADDRINUSE' ? 'taken' : 'none');
    });
    server.listen({ host: '::1', port, ipv6Only: true, backlog }, () => resolve(server));
  });
}
