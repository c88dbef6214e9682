import { readFile } from 'node:fs/promises';
import { isLoopbackHost } from '#api';
import type { NexusConfig } from '#apps/config';
import { type Clock, NexusError, type SecretValues, systemTimers } from '#core';
import { operatorTenant } from '#policy';
import type { Logger } from '#telemetry';
import type { Tool, ToolCall, ToolDescriptor, ToolService } from '#tools';
import { keepAgentCoreToken } from './agent-core-token.ts';

export interface RemoteToolParts {
  readonly config: NexusConfig;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly known: SecretValues;
  /** Tools of the program that this server is a part of, which no other process can run. */
  readonly given: readonly Tool[];
}

/** The agent core of another process, where `tools.remote.address` names one. Throws `config_invalid` for what cannot be meant. */
export async function openRemoteTools({ config, clock, logger, known, given }: RemoteToolParts): Promise<ToolService | undefined> {
  const { address, tls, ...settings } = config.tools.remote;
  if (address === undefined) return undefined;
  if (given.length > 0)
    throw new NexusError(
      'config_invalid',
      'tools.remote.address: tools of the program around this server run only in it; leave the address out',
    );
  if ((tls.cert === undefined) !== (tls.key === undefined))
    throw new NexusError('config_invalid', 'tools.remote.tls.cert and tools.remote.tls.key belong together: one of them is missing');
  const [ca, cert, key] = await Promise.all([
    readPem('tools.remote.tls.ca', tls.ca),
    readPem('tools.remote.tls.cert', tls.cert),
    readPem('tools.remote.tls.key', tls.key),
  ]);
  const isSecure = ca !== undefined || cert !== undefined;
  const isLocal = isLoopbackHost(address.slice(0, address.lastIndexOf(':')));
  const token = settings.token ?? (isLocal && !isSecure ? await keepAgentCoreToken(config) : undefined);
  if (token !== undefined) known.add([token]);
  if (!isLocal && !isSecure)
    logger.warn({ address }, 'the agent core is reached without TLS: what tools are given and give can be read on the way');
  const { createRemoteTools } = await import('#tools/wire');
  const service = createRemoteTools({
    ...{ clock, timers: systemTimers, address },
    ...{ connectTimeoutMs: settings.connectTimeoutMs, maxMessageBytes: settings.maxMessageBytes, keepaliveMs: settings.keepaliveMs },
    ...(token === undefined ? {} : { token }),
    ...(isSecure ? { tls: defined({ ca, cert, key, serverName: tls.serverName }) } : {}),
    onTrouble: (error, message) => logger.warn({ address, why: whyOf(error) }, message),
    onLost: (loss, message) => logger.warn(loss, message),
    onBack: (about, message) => logger.info(about, message),
  });
  // So that the log says at the start, and not with the first run, that it cannot be used. Nobody waits for it.
  void service.list(operatorTenant).catch(() => undefined);
  return service;
}

/** In a line. */
function whyOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message !== '' ? `${error.message}: ${error.cause.message}` : error.message;
}

/** Without what is undefined. */
function defined<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  // Safe: only what is undefined is left out.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** Throws `config_invalid`, naming the setting, for a file that holds no PEM. */
export async function readPem(setting: string, path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined;
  const content = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw new NexusError('config_invalid', `${setting}: ${path} cannot be read (${cause.code ?? cause.name}); expected a file in PEM`, {
      cause,
    });
  });
  if (!content.includes('-----BEGIN '))
    throw new NexusError('config_invalid', `${setting}: ${path} is no PEM, which begins with -----BEGIN`);
  return content;
}

/**
 * The tools of an agent core in another process, but for the calls that go on outside of it (`rejoinable`): those lie in the database that both
 * have, so they are made here, where the run is, and neither that process nor the way to it is anything that they could be lost with. What an
 * agent core that is away listed last is not all of them: those of the database are told as they are here.
 */
export function withCallsHere(remote: ToolService, here: ToolService): ToolService {
  const merged = new WeakMap<object, { readonly own: object; readonly all: readonly ToolDescriptor[] }>();

  async function list(tenantId: string): Promise<readonly ToolDescriptor[]> {
    const [listed, own] = await Promise.all([remote.list(tenantId), here.list(tenantId)]);
    const before = merged.get(listed);
    if (before?.own === own) return before.all;
    const ownOf = new Map(own.map((tool) => [tool.name, tool]));
    const names = new Set(listed.map(({ name }) => name));
    const all = [
      ...listed.map((tool) => (tool.rejoinable === true ? (ownOf.get(tool.name) ?? tool) : tool)),
      ...own.filter(({ name }) => !names.has(name)),
    ];
    merged.set(listed, { own, all });
    return all;
  }

  async function placeOf({ tenantId, toolName, toolVersion, rejoins }: ToolCall): Promise<ToolService> {
    // A list that cannot be had says nothing: the agent core may know more.
    const tools = await here.list(tenantId).catch(() => []);
    const found = tools.find(({ name }) => name === toolName);
    return found?.rejoinable === true && (rejoins === true || found.version === toolVersion) ? here : remote;
  }
  return {
    ...remote,
    list,
    async *execute(call, options) {
      yield* (await placeOf(call)).execute(call, options);
    },
  };
}
