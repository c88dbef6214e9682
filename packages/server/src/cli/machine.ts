import { constants } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { createNexusClient } from '@nexus-agent/sdk';
import { clientUrl, type NexusConfig } from '#apps/config';

/** `warn` is worth knowing; only `fail` keeps Nexus Agent from working. */
interface Check {
  readonly name: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly detail: string;
}

const timeoutMs = 2000;

/** What works on this machine and what does not, with what to do about it. `fault`: why there is no configuration. */
export async function checkMachine(found: { readonly config: NexusConfig } | { readonly fault: string }): Promise<Check[]> {
  if ('fault' in found) return [checkNode(), { name: 'configuration', status: 'fail', detail: found.fault }];
  const { config } = found;
  return [
    checkNode(),
    { name: 'configuration', status: 'ok', detail: `${config.host}:${config.port}, data in ${config.dataDir}` },
    ...(await Promise.all([checkServer(config), checkDataDir(config), checkDatabase(config), ...checkProviders(config)])),
    ...checkRedis(config),
    checkSandbox(),
  ];
}

function checkNode(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const good = major > 22 || (major === 22 && minor >= 19);
  return { name: 'node', status: good ? 'ok' : 'fail', detail: `${process.versions.node}${good ? '' : '; 22.19 or newer is needed'}` };
}

async function checkServer(config: NexusConfig): Promise<Check> {
  const url = clientUrl(config);
  const name = 'server';
  try {
    const { version } = await createNexusClient({ baseUrl: url }).health({ signal: AbortSignal.timeout(timeoutMs) });
    return { name, status: 'ok', detail: `version ${version} answers at ${url}` };
  } catch {
    const free = await portIsFree(config.host, config.port);
    return free
      ? { name, status: 'ok', detail: `none at ${url}; port ${config.port} is free (nexus serve starts one)` }
      : { name, status: 'fail', detail: `port ${config.port} is taken by another program; choose another with --port or NEXUS_PORT` };
  }
}

function portIsFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host, port }, () => server.close(() => resolve(true)));
  });
}

async function checkDataDir(config: NexusConfig): Promise<Check> {
  try {
    await mkdir(config.dataDir, { recursive: true });
    await access(config.dataDir, constants.W_OK | constants.X_OK);
    return { name: 'data folder', status: 'ok', detail: `${config.dataDir} can be written` };
  } catch (error) {
    return { name: 'data folder', status: 'fail', detail: `${config.dataDir} cannot be written: ${messageOf(error)}` };
  }
}

async function checkDatabase(config: NexusConfig): Promise<Check> {
  const name = 'database';
  if (config.databaseUrl === undefined) {
    try {
      await import('node:sqlite');
      return { name, status: 'ok', detail: 'embedded' };
    } catch (error) {
      return { name, status: 'fail', detail: `this Node has no node:sqlite: ${messageOf(error)}` };
    }
  }
  return reach(name, new URL(config.databaseUrl), 5432);
}

function checkRedis(config: NexusConfig): Check[] {
  return config.bus === 'redis' && config.redisUrl === undefined
    ? [{ name: 'bus', status: 'fail', detail: 'bus is redis, but redisUrl is not set' }]
    : [];
}

function checkProviders(config: NexusConfig): Promise<Check>[] {
  const { openai, anthropic, compatible } = config.providers;
  const named = [
    ...(openai === undefined ? [] : [{ name: 'openai', ...openai, keyNeeded: true }]),
    ...(anthropic === undefined ? [] : [{ name: 'anthropic', ...anthropic, keyNeeded: true }]),
    ...compatible.map((provider) => ({ ...provider, keyNeeded: false })),
  ];
  if (named.length === 0) {
    const off = config.sim.enabled === 'off';
    const detail = off
      ? 'none is configured and the simulator is off'
      : 'none is configured: the simulator answers (set OPENAI_API_KEY or ANTHROPIC_API_KEY)';
    return [Promise.resolve({ name: 'providers', status: off ? 'fail' : 'warn', detail } as const)];
  }
  return named.map(async ({ name, baseUrl, apiKey, keyNeeded }) => {
    if (keyNeeded && apiKey === undefined) return { name, status: 'fail', detail: `no API key is set for ${baseUrl}` } as const;
    return reach(name, new URL(baseUrl), baseUrl.startsWith('https') ? 443 : 80);
  });
}

/** Whether something listens there; nothing is sent. */
function reach(name: string, url: URL, defaultPort: number): Promise<Check> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = url.port === '' ? defaultPort : Number(url.port);
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const settle = (status: Check['status'], detail: string) => {
      socket.destroy();
      resolve({ name, status, detail });
    };
    socket.once('connect', () => settle('ok', `${host}:${port} can be reached`));
    socket.once('timeout', () => settle('fail', `${host}:${port} does not answer`));
    socket.once('error', (error) => settle('fail', `${host}:${port} cannot be reached: ${messageOf(error)}`));
  });
}

function checkSandbox(): Check {
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
