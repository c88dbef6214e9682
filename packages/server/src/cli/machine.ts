import { createServer } from 'node:net';
import { createNexusClient } from '@nexus-agent/sdk';
import type { SetupCheck } from '#apps';
import { clientUrl, type NexusConfig, tokenFolders } from '#apps/config';
import { maskAddress } from '#core';
import type { CliIo } from './io.ts';
import { explainRefusal, hintOf } from './refused.ts';

const timeoutMs = 2000;

export interface MachineQuestion {
  readonly found: { readonly config: NexusConfig } | { readonly fault: string };
  /** What is odd about the environment, as sentences. */
  readonly notes: readonly string[];
  readonly checkSetup: (config: NexusConfig) => Promise<SetupCheck[]>;
  readonly io: Pick<CliIo, 'readFile'>;
}

/** What works on this machine and what does not, with what to do about it. `fault`: why there is no configuration. */
export async function checkMachine({ found, notes, checkSetup, io }: MachineQuestion): Promise<SetupCheck[]> {
  const noted = notes.map((detail): SetupCheck => ({ name: 'environment', status: 'warn', detail }));
  if ('fault' in found) return [checkNode(), { name: 'configuration', status: 'fail', detail: found.fault }, ...noted];
  const { config } = found;
  const [server, setup] = await Promise.all([checkServer(config, io), checkSetup(config)]);
  const configuration = {
    name: 'configuration',
    status: 'ok',
    detail: `${config.host}:${config.port}, data in ${config.dataDir}`,
  } as const;
  return [checkNode(), configuration, ...noted, server, ...setup, checkSandbox()];
}

function checkNode(): SetupCheck {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const good = major > 22 || (major === 22 && minor >= 19);
  return { name: 'node', status: good ? 'ok' : 'fail', detail: `${process.versions.node}${good ? '' : '; 22.19 or newer is needed'}` };
}

async function checkServer(config: NexusConfig, io: MachineQuestion['io']): Promise<SetupCheck> {
  const url = maskAddress(clientUrl(config));
  const name = 'server';
  try {
    const { version } = await createNexusClient({ baseUrl: clientUrl(config) }).health({ signal: AbortSignal.timeout(timeoutMs) });
    const answers = `version ${version} answers at ${url}`;
    const refusal = await whyNotLetIn(config, io);
    return refusal === null
      ? { name, status: 'ok', detail: answers }
      : { name, status: 'warn', detail: `${answers} and does not let commands in from here: ${refusal}` };
  } catch (error) {
    if (config.client.url !== undefined)
      return {
        name,
        status: 'warn',
        detail: `none answers at ${url}, which commands talk to (client.url, NEXUS_URL, --url): ${messageOf(error)}`,
      };
    const free = await portIsFree(config.host, config.port);
    return free
      ? { name, status: 'ok', detail: `none at ${url}; port ${config.port} is free (nexus serve starts one)` }
      : { name, status: 'fail', detail: `port ${config.port} is taken by another program; choose another with --port or NEXUS_PORT` };
  }
}

/** Null where commands are let in, or something else than that is wrong. */
async function whyNotLetIn(config: NexusConfig, io: MachineQuestion['io']): Promise<string | null> {
  const { apiKey } = config.client;
  const shown = { url: clientUrl(config), hasKey: apiKey !== undefined, folders: tokenFolders(config) };
  try {
    const client = createNexusClient({ baseUrl: shown.url, tokenFolders: shown.folders, ...(apiKey === undefined ? {} : { apiKey }) });
    await client.runs.list({ limit: 1, signal: AbortSignal.timeout(timeoutMs) });
    return null;
  } catch (error) {
    await explainRefusal(error, shown, io);
    return hintOf(error) ?? null;
  }
}

function portIsFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host, port }, () => server.close(() => resolve(true)));
  });
}

function checkSandbox(): SetupCheck {
  try {
    import.meta.resolve('quickjs-wasi');
    return { name: 'sandbox', status: 'ok', detail: 'QuickJS in WebAssembly' };
  } catch (error) {
    return { name: 'sandbox', status: 'fail', detail: `the JavaScript sandbox is not installed: ${messageOf(error)}` };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message || ('code' in error ? String(error.code) : 'unknown') : String(error);
}
