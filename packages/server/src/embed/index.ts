/**
 * What `import 'nexus-agent'` gives: the whole platform inside a program of one's own, with tools written there. Whoever only talks to
 * a server wants `@nexus-agent/sdk`.
 */
import { readFileSync } from 'node:fs';
import { errorTable } from '@nexus-agent/protocol';
import { createNexusClient, type DefinedTool, NexusApiError, type NexusClient } from '@nexus-agent/sdk';
import { startAllInOne } from '#apps';
import { type ConfigInput, resolveConfig } from '#apps/config';
import { closest, NexusError } from '#core';
import { createLogger, type Logger, type LogLevel } from '#telemetry';
import type { Tool } from '#tools';
import { createInProcessFetch } from './in-process-fetch.ts';
import { toolOf } from './tool-of.ts';

export { type DefinedTool, defineTool, type NexusClient, type ToolCallContext, type ToolDefinition } from '@nexus-agent/sdk';
export type { Tool, ToolContext, ToolResult } from '#tools';
export type { ConfigInput, Logger, LogLevel };
export { NexusError };

export interface NexusOptions {
  /** As in `nexus.config.yaml`; absent keys have their defaults, and `port: 0` takes a free one. Neither a file nor the environment is read. */
  readonly config?: ConfigInput;
  /** Tools besides the built-in ones; agents and policies allow them by name. */
  readonly tools?: readonly Tool[];
  /** Where lines go that the server logs: a level for JSON on standard error, or a logger. Default `warn`. */
  readonly log?: LogLevel | Logger;
}

export interface RunningNexus {
  /** `http://host:port`, for `@nexus-agent/sdk`, browsers and curl. */
  readonly url: string;
  /** The `apiKey` of a client that acts as the local operator; `@nexus-agent/sdk` in Node finds it by itself. Absent where `auth.local` gives none. */
  readonly localToken?: string;
  /** Stops taking work, lets live work finish or hands it over within `drainMs`, and closes everything. May be called again. */
  close(): Promise<void>;
}

/**
 * Starts a server in this process and resolves when it is ready. Rejects with a {@link NexusError}, such as `config_invalid` with every
 * fault of the configuration, and then leaves nothing open. Does not handle signals: call {@link RunningNexus.close}.
 */
export async function startNexus(options: NexusOptions = {}): Promise<RunningNexus> {
  checkOptions(options, optionNames);
  const { config = {}, tools = [], log = 'warn' } = options;
  const app = await startAllInOne({
    config: resolveConfig({ env: {}, flags: config, given: 'given to startNexus' }),
    version: readVersion(),
    tools,
    logger: typeof log === 'string' ? createLogger({ level: log }) : log,
  });
  return { url: app.url, ...(app.localToken === undefined ? {} : { localToken: app.localToken }), close: () => app.close() };
}

export interface CreateNexusOptions extends Omit<NexusOptions, 'tools'> {
  /** Tools as functions, by {@link defineTool}, or in full. */
  readonly tools?: readonly (DefinedTool | Tool)[];
  /** Whether others reach it at the address of `config`. Default: nobody does. */
  readonly http?: boolean;
}

/** The platform inside this program: all that a client of a server can do, and its end. */
export interface Nexus extends NexusClient, AsyncDisposable {
  /** Where others reach it; null without `http`. */
  readonly url: string | null;
  /** As {@link RunningNexus.close}. */
  close(): Promise<void>;
}

/**
 * The whole platform inside this program, with its tools as functions, and the API of `@nexus-agent/sdk` to use it: `await using nexus =
 * await createNexus({ tools })`. Nothing listens unless `http` says so. Rejects as {@link startNexus} does.
 */
export async function createNexus(options: CreateNexusOptions = {}): Promise<Nexus> {
  checkOptions(options, [...optionNames, 'http']);
  const { config = {}, tools = [], log = 'warn', http = false } = options;
  if (typeof http !== 'boolean')
    throw new NexusError('config_invalid', 'http: expected true or false; host and port are settings of config');
  if (!Array.isArray(tools)) throw new NexusError('config_invalid', 'tools: expected a list of tools, such as [defineTool({ … })]');
  const app = await startAllInOne({
    config: resolveConfig({ env: {}, flags: config, given: 'given to createNexus' }),
    version: readVersion(),
    tools: tools.map(toolOf),
    logger: typeof log === 'string' ? createLogger({ level: log }) : log,
    unbound: !http,
  });
  const transport = createInProcessFetch((socket) => app.accept(socket));
  const client = createNexusClient({
    baseUrl: 'http://127.0.0.1',
    fetch: (input, init) =>
      transport.fetch(input, init).catch((error: unknown) => {
        throw isClosed ? closedError() : error;
      }),
    tokenFolders: [],
    ...(app.localToken === undefined ? {} : { apiKey: app.localToken }),
  });
  let isClosed = false;
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= app.close().finally(() => {
      isClosed = true;
      return transport.close();
    });
    return closing;
  };
  return Object.assign(client, { url: http ? app.url : null, close, [Symbol.asyncDispose]: close });
}

/** It does not open again: nothing is to be tried later. */
function closedError(): NexusApiError {
  const { title, httpStatus: status } = errorTable.unavailable;
  return new NexusApiError({ type: 'about:blank', title, status, detail: 'the platform is closed', code: 'unavailable', retryable: false });
}

const optionNames = ['config', 'tools', 'log'];
const logLevels: readonly LogLevel[] = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'];

/** What a program without types may get wrong, besides the configuration and the tools, which are checked where they are used. */
function checkOptions(options: Pick<NexusOptions, 'log'>, optionNames: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw new NexusError('config_invalid', 'expected options such as { config, tools }');
  for (const name of Object.keys(options)) {
    if (optionNames.includes(name)) continue;
    const near = closest(name, optionNames);
    const help = near === null ? `known are ${optionNames.join(', ')}; settings belong under config` : `did you mean ${near}?`;
    throw new NexusError('config_invalid', `there is no option ${name.slice(0, 80)}; ${help}`);
  }
  const { log } = options;
  if (typeof log === 'string' && !logLevels.includes(log)) {
    const near = closest(log, logLevels);
    throw new NexusError(
      'config_invalid',
      `log: there is no level ${JSON.stringify(log)}; ${near === null ? `known are ${logLevels.join(', ')}` : `did you mean "${near}"?`}`,
    );
  }
}

/** The manifest lies above this file, from source and from the built files alike. */
function readVersion(): string {
  const manifest = new URL(import.meta.url.endsWith('.ts') ? '../../package.json' : '../package.json', import.meta.url);
  return String((JSON.parse(readFileSync(manifest, 'utf8')) as { version: unknown }).version); // our own manifest
}
