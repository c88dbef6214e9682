import { type BudgetLimits, type ChatRequest, dictionary } from '@nexus-agent/protocol';
import { type Clock, NexusError } from '#core';

/** What a run of a visitor may use, at most. */
const most = { costMicroUsd: 100_000, tokens: 200_000, toolCalls: 20, wallMs: 600_000 } as const satisfies BudgetLimits;
/** Runs in a minute: the greeting, of which nobody but us writes a word, and those that say what they want. */
const perMinute = dictionary({ greeting: 1_200, other: 60 });
const minuteMs = 60_000;

export interface Visits {
  /** The run as a visitor may have it. Throws `rate_limited` when visitors have started as many as they may. */
  admit(request: ChatRequest, greeting: string): ChatRequest;
}

/**
 * Bounds what programs without a key or token start over loopback: nobody knows who they are, and a proxy that does not tell could pass
 * on requests of strangers. Their runs are paid by the user `visitor`, whose budget the operator may set.
 */
export function createVisits(clock: Pick<Clock, 'monotonic'>): Visits {
  const started = dictionary({ greeting: 0, other: 0 });
  let since = clock.monotonic();
  return {
    admit(request, greeting) {
      const now = clock.monotonic();
      if (now - since >= minuteMs) {
        since = now;
        started.greeting = 0;
        started.other = 0;
      }
      const kind = request.input === greeting ? 'greeting' : 'other';
      if (started[kind] >= perMinute[kind]) {
        throw new NexusError(
          'rate_limited',
          `without a key or the local operator's token at most ${perMinute[kind]} such runs are started in a minute; wait for the next one, or bring one of them`,
          { retryAfterMs: minuteMs - (now - since) },
        );
      }
      started[kind] += 1;
      return { ...request, user: 'visitor', budget: atMost(request.budget ?? {}) };
    },
  };
}

function atMost(asked: BudgetLimits): BudgetLimits {
  const limits: BudgetLimits = {};
  for (const unit of ['costMicroUsd', 'tokens', 'toolCalls', 'wallMs'] as const)
    limits[unit] = Math.min(asked[unit] ?? most[unit], most[unit]);
  return limits;
}
