import { LRUCache } from 'lru-cache';
import { type Clock, NexusError } from '#core';
import { failureOf } from './connection.ts';

interface Failing {
  readonly failures: number;
  readonly until: number;
  readonly error: unknown;
}

/** Which servers are left alone for a while, and for how long. They are told apart by a text. */
export interface RecentFailures {
  /** Throws what it failed of, with the time of the next try, while that has not come. */
  requireDue(server: string): void;
  opened(server: string): void;
  notOpened(server: string, error: unknown): void;
  /** It ended by itself, in the midst of something. The first end is anybody's bad luck: whoever calls next has a new one at once. */
  endedItself(server: string): void;
  /** Something was done over a conversation. */
  worked(server: string): void;
  /** Forgets what begins so. */
  forgive(start: string): void;
}

const firstPauseMs = 500;
const maxPauseMs = 60_000;
const maxRemembered = 10_000;

export function createRecentFailures(clock: Pick<Clock, 'monotonic'>): RecentFailures {
  const failing = new LRUCache<string, Failing>({ max: maxRemembered });
  const ending = new LRUCache<string, Failing>({ max: maxRemembered });
  return {
    requireDue(server) {
      for (const failed of [failing.get(server), ending.get(server)]) {
        const waitMs = (failed?.until ?? 0) - clock.monotonic();
        if (failed !== undefined && waitMs > 0) throw laterAgain(failed.error, waitMs);
      }
    },
    opened: (server) => void failing.delete(server),
    notOpened(server, error) {
      // Whether somebody has logged in is known at once: nobody is asked for it.
      if (error instanceof NexusError && error.code === 'login_required') return;
      const failures = (failing.get(server)?.failures ?? 0) + 1;
      failing.set(server, { failures, until: clock.monotonic() + pauseMs(failures), error });
    },
    endedItself(server) {
      const failures = (ending.get(server)?.failures ?? 0) + 1;
      const error = new NexusError('tool_failed', `the MCP server ended by itself ${failures} times without doing anything`);
      ending.set(server, { failures, until: failures < 2 ? 0 : clock.monotonic() + pauseMs(failures - 1), error });
    },
    worked: (server) => void ending.delete(server),
    forgive(start) {
      for (const remembered of [failing, ending]) for (const id of remembered.keys()) if (id.startsWith(start)) remembered.delete(id);
    },
  };
}

function pauseMs(failures: number): number {
  return Math.min(maxPauseMs, firstPauseMs * 2 ** Math.min(failures, 20));
}

/** The same failure, with the time of the next try. */
function laterAgain(error: unknown, waitMs: number): NexusError {
  const { code, message, details } = failureOf(error).error;
  const seconds = Math.ceil(waitMs / 1_000);
  return new NexusError(code, `${message}; the MCP server is tried again in ${seconds} s`, {
    details: { ...details, retryAfterMs: Math.ceil(waitMs) },
    cause: error,
  });
}
