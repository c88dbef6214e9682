import { Transform } from 'node:stream';
import { dictionary } from '@nexus-agent/protocol';
import { type Clock, NexusError, type Timers } from '#core';
import type { ProxyDefence, ProxyLimits } from './types.ts';

/** What all connections of a call have sent and received together, and how fast. */
export interface Meter {
  /** Counts what passes, and slows it down. Ends with an error where there was more than may be. */
  measure(direction: 'out' | 'in', count: (bytes: number) => void, signal: AbortSignal): Transform;
}

/** An idle call may send so much at once. */
const burstMs = 1_000;

export function createMeter(
  limits: Pick<ProxyLimits, 'bytesOut' | 'bytesIn' | 'bytesPerSecond'>,
  clock: Pick<Clock, 'monotonic'>,
  timers: Pick<Timers, 'sleep'>,
  without: ReadonlySet<ProxyDefence>,
): Meter {
  const passed = dictionary({ out: 0, in: 0 });
  const most = dictionary({
    out: without.has('limit-bytes-out') ? Number.POSITIVE_INFINITY : limits.bytesOut,
    in: without.has('limit-bytes-in') ? Number.POSITIVE_INFINITY : limits.bytesIn,
  });
  /** When all that has passed would have passed at the rate that may be. */
  let paidUntil = clock.monotonic() - burstMs;

  function pauseFor(bytes: number): number {
    if (without.has('limit-rate')) return 0;
    const now = clock.monotonic();
    paidUntil = Math.max(paidUntil, now - burstMs) + (bytes * 1_000) / limits.bytesPerSecond;
    return paidUntil - now;
  }

  return {
    measure(direction, count, signal) {
      return new Transform({
        transform(chunk: Buffer, _encoding, done) {
          passed[direction] += chunk.length;
          if (passed[direction] > most[direction]) {
            const way = direction === 'out' ? 'sent' : 'received';
            done(limitReached(`the program ${way} more than ${most[direction]} bytes`));
            return;
          }
          count(chunk.length);
          const pauseMs = pauseFor(chunk.length);
          if (pauseMs <= 0) done(null, chunk);
          else timers.sleep(pauseMs, signal).then(() => done(null, chunk), done);
        },
      });
    },
  };
}

export function limitReached(message: string): NexusError {
  return new NexusError('limit_exceeded', message, { details: { limit: 'network' } });
}
