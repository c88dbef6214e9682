/**
 * What `import 'nexus-agent'` gives: the whole platform inside a program of one's own, with tools written there. Whoever only talks to
 * a server wants `@nexus-agent/sdk`.
 */
import { readFileSync } from 'node:fs';
import { startAllInOne } from '#apps';
import { type ConfigInput, resolveConfig } from '#apps/config';
import { closest, NexusError } from '#core';
import { createLogger, type Logger, type LogLevel } from '#telemetry';
import type { Tool } from '#tools';

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
  checkOptions(options);
  const { config = {}, tools = [], log = 'warn' } = options;
  const app = await startAllInOne({
    config: resolveConfig({ env: {}, flags: config }),
    version: readVersion(),
    tools,
    logger: typeof log === 'string' ? createLogger({ level: log }) : log,
  });
  return { url: app.url, ...(app.localToken === undefined ? {} : { localToken: app.localToken }), close: () => app.close() };
}

const optionNames = ['config', 'tools', 'log'];
const logLevels: readonly LogLevel[] = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'];

/** What a program without types may get wrong, besides the configuration and the tools, which are checked where they are used. */
function checkOptions(options: NexusOptions): void {
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
