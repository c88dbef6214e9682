import type { Duplex } from 'node:stream';
import type { ErrorCode } from '@nexus-agent/protocol';
import type {
  Administration,
  Agents,
  Approvals,
  Artifacts,
  Budgets,
  Definitions,
  Files,
  Models,
  Plugins,
  Retention,
  ToolSources,
  Tools,
  ToolWorkers,
  TrustedKeys,
} from '#control';
import type { Clock, IdSource, SecretValues, Timers } from '#core';
import type { Keys } from '#identity';
import type { Runs, Sessions } from '#runs';
import type { McpAdministration } from '#tools';

/** What the API logs through; pino fits. */
export interface ApiLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What the API counts. Paths are route patterns, never actual paths. */
export interface ApiMetrics {
  requestCompleted(request: { method: string; route: string; status: number; durationMs: number }): void;
  streamOpened(): void;
  streamClosed(stream: { outcome: StreamOutcome; durationMs: number }): void;
  streamEvents(count: number): void;
  connectionOpened(): void;
  connectionClosed(): void;
  requestRefused(error: ErrorCode): void;
  /** All metrics in Prometheus text format. */
  scrape(): Promise<{ contentType: string; body: string }>;
}

/** How a stream ended: with its run, by the reader leaving or being too slow, by shutdown, or by an error. */
export type StreamOutcome = 'completed' | 'disconnected' | 'lagged' | 'shutdown' | 'failed';

export interface ApiConfig {
  readonly host: string;
  readonly port: number;
  readonly auth: {
    readonly local: 'token' | 'open' | 'none';
    readonly allowedHosts: readonly string[];
    readonly allowedOrigins: readonly string[];
  };
  readonly mcp: {
    readonly server: {
      readonly enabled: boolean;
      readonly agent: string;
      readonly tenantSessions: number;
      readonly idleMs: number;
      readonly questionMs: number;
      readonly calls: number;
    };
  };
  readonly cors: { readonly origins: readonly string[] };
  readonly limits: {
    readonly bodyBytes: number;
    /** A request that takes longer to arrive whole is cut off, at the next look: at most 30 s later. */
    readonly requestTimeoutMs: number;
    /** How long a connection without a request is kept: longer than what stands before the server keeps it. */
    readonly keepAliveMs: number;
    readonly connections: number;
    /** How long requests in flight may take to be answered at shutdown. */
    readonly answerGraceMs: number;
    readonly streamLagMs: number;
    readonly streamPingMs: number;
    readonly tenantRequests: number;
    readonly tenantStreams: number;
  };
}

/** What layer 3 offers, a service for each resource. */
export interface ApiServices {
  readonly administration: Administration;
  readonly sessions: Sessions;
  readonly runs: Runs;
  readonly approvals: Approvals;
  readonly agents: Agents;
  readonly files: Files;
  readonly artifacts: Artifacts;
  readonly tools: Tools;
  readonly toolWorkers: ToolWorkers;
  readonly plugins: Plugins;
  readonly pluginKeys: TrustedKeys;
  readonly mcpServers: McpAdministration;
  readonly toolSources: ToolSources;
  readonly models: Models;
  readonly budgets: Budgets;
  readonly retention: Retention;
  readonly keys: Keys;
  readonly definitions: Definitions;
}

export interface ApiDependencies {
  readonly services: ApiServices;
  /** What the default agent is asked by a bare GET of the chat stream. */
  readonly greeting: string;
  /** False while starting, draining, or when the database does not answer. */
  readonly ready: () => Promise<{ readonly ready: boolean; readonly reason?: string }>;
  readonly config: ApiConfig;
  readonly logger: ApiLogger;
  readonly metrics: ApiMetrics;
  /** What no answer may hold. */
  readonly secrets: SecretValues;
  readonly ids: IdSource;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly version: string;
  /** Shows that a request over loopback is the local operator's; absent: nothing does. */
  readonly localToken?: string;
}

/** Where a server answers. */
export interface Bound {
  readonly url: string;
  readonly port: number;
  /** The hosts of URLs that lead here, and to no other program of this machine at this port. */
  readonly hosts: readonly string[];
}

export interface Api {
  /**
   * Binds the configured address and resolves with the one that clients use. A loopback host is bound on both address families, so that
   * `localhost` works however it resolves. Until `announce` is done nothing but `/healthz` is answered otherwise than by 503. Throws
   * `config_invalid` for another host while no API key exists, and `unavailable` when the port is taken.
   */
  listen(announce?: (bound: Bound) => Promise<void>): Promise<Bound>;
  /** Answers from now on, at no address: only what {@link Api.accept} is given. Nobody answers at the address that comes back. */
  open(): Pick<Bound, 'url' | 'port'>;
  /** Serves a connection that was made within this process, as one over loopback. */
  accept(socket: Duplex): void;
  /**
   * Refuses new work with 503 from now on, also at `/readyz`, and ends the streams so that clients resume elsewhere. The port
   * stays open, so that this can be seen, until `drained` and the requests in flight are over; then it resolves.
   */
  close(drained?: Promise<unknown>): Promise<void>;
}
