import type { Transform } from 'node:stream';
import type { Clock } from '#core';
import type { Meter } from './meter.ts';
import type { ProxyTarget } from './target.ts';
import type { EgressRecord } from './types.ts';

/** So many connections are kept with the result of a call. */
const maxRecords = 50;

/** One connection up to its end. */
export interface LoggedConnection {
  to(target: ProxyTarget): void;
  connected(address: string): void;
  /** A secret goes along. */
  sends(secret: string): void;
  out(): Transform;
  in(): Transform;
  end(outcome: EgressRecord['outcome']): void;
}

export interface ConnectionLog {
  readonly records: readonly EgressRecord[];
  begin(kind: EgressRecord['kind'], signal: AbortSignal): LoggedConnection;
}

export function createConnectionLog(meter: Meter, clock: Pick<Clock, 'monotonic'>): ConnectionLog {
  const records: EgressRecord[] = [];
  return { records, begin };

  function begin(kind: EgressRecord['kind'], signal: AbortSignal): LoggedConnection {
    const startedAt = clock.monotonic();
    const seen = { sentBytes: 0, receivedBytes: 0 };
    let target: ProxyTarget | undefined;
    let address: string | undefined;
    let secret: string | undefined;
    return {
      to: (known: ProxyTarget) => {
        target = known;
      },
      connected: (known: string) => {
        address = known;
      },
      sends: (name: string) => {
        secret = name;
      },
      out: () => meter.measure('out', (bytes) => (seen.sentBytes += bytes), signal),
      in: () => meter.measure('in', (bytes) => (seen.receivedBytes += bytes), signal),
      end(outcome: EgressRecord['outcome']) {
        const record: EgressRecord = {
          ...{ kind, host: target?.hostname ?? '', port: target?.port ?? 0 },
          ...(kind === 'http' && target !== undefined ? { method: target.method } : {}),
          ...(address === undefined ? {} : { address }),
          ...(secret === undefined ? {} : { secret }),
          ...{ ...seen, durationMs: Math.round(clock.monotonic() - startedAt), outcome },
        };
        if (records.length < maxRecords) records.push(record);
      },
    };
  }
}
