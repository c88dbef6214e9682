import type { Clock, Timers } from '#core';
import type { EdgeSecret } from '../edge-secrets.ts';
import type { EgressOptions } from '../egress.ts';

/** What one jailed program may do through its proxy. */
export interface ProxyLimits {
  /** Connections of the program at a time; more are closed at once. */
  readonly connections: number;
  /** Connections from its start to its end: then nothing listens any more. */
  readonly totalConnections: number;
  /** Bytes to hosts, and from them, of all connections together. */
  readonly bytesOut: number;
  readonly bytesIn: number;
  /** Both ways together. */
  readonly bytesPerSecond: number;
  /** Of the head of one request. */
  readonly headerBytes: number;
  /** Longest silence: of a head that is not whole, of an answer, of a tunnel. */
  readonly idleMs: number;
  /** The longest that one connection lasts. */
  readonly connectionMs: number;
}

/**
 * Where a program may go, decided before it starts. `any`: a tunnel, or plain HTTP of any method, for what a tunnel carries nobody sees.
 * `read`: GET and HEAD of plain HTTP. `secret`: what it says in plain HTTP is sent on over TLS, with a secret that it never sees.
 */
export type EgressGrant =
  | { readonly use: 'any' | 'read'; readonly hostname: string; readonly port: number }
  | {
      readonly use: 'secret';
      readonly hostname: string;
      /** Where the program calls it. */
      readonly port: number;
      /** Where it really is. */
      readonly origin: URL;
      readonly secret: EdgeSecret;
    };

export type SecretGrant = Extract<EgressGrant, { use: 'secret' }>;

/** One connection that a program made, or tried to make. */
export interface EgressRecord {
  readonly kind: 'tunnel' | 'http';
  readonly host: string;
  readonly port: number;
  /** Of plain HTTP. */
  readonly method?: string;
  /** Name of the one that was sent along. */
  readonly secret?: string;
  /** What it was connected to; left out when it was not. */
  readonly address?: string;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly durationMs: number;
  /** `refused`: not granted, or to an address that may not be reached. `limit`: ended by one. `failed`: the host did. */
  readonly outcome: 'ok' | 'refused' | 'limit' | 'failed';
}

export interface EgressProxyOptions {
  /** Where it listens: a path in a folder that only this process, and who is given the socket, can look into. */
  readonly socketPath: string;
  readonly egress: EgressOptions;
  readonly grants: readonly EgressGrant[];
  readonly limits: ProxyLimits;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Timers;
  /** Takes defences away, to show that each is needed. */
  readonly without?: ReadonlySet<ProxyDefence>;
}

export interface EgressProxy {
  /** The first connections that ended. */
  readonly records: readonly EgressRecord[];
  /** How many there were, refused ones and those that were closed at once included. */
  readonly total: number;
  /** Ends all connections; resolves when none is left and nothing listens. */
  close(): Promise<void>;
}

/** What keeps a program to its grants: each can be taken away, so that it can be shown that its attack succeeds without it. No setting does so. */
export const proxyDefences = [
  'granted-hosts',
  'granted-ports',
  'granted-methods',
  'one-host',
  'limit-connections',
  'limit-total-connections',
  'limit-bytes-out',
  'limit-bytes-in',
  'limit-rate',
  'limit-header',
  'limit-idle',
  'limit-connection-time',
  'ends-with-call',
] as const;

export type ProxyDefence = (typeof proxyDefences)[number];
