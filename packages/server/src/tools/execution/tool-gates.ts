import { LRUCache } from 'lru-cache';
import {
  askBreaker,
  type BreakerPass,
  type BreakerState,
  type BreakerVerdict,
  type Clock,
  closedBreaker,
  createShares,
  type Entry,
  type Holder,
  NexusError,
  type Shares,
  type Timers,
  tellBreaker,
  type WaitObserver,
} from '#core';
import type { CataloguedTool } from '#tools/catalogue';
import { limitsFor, type ToolLimitSettings, type ToolLimits } from './limits.ts';

export interface ToolGatesOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'after'>;
  readonly settings: Readonly<Record<string, ToolLimitSettings>>;
  /** Hears of all queues together. */
  readonly observer?: WaitObserver | undefined;
}

/** A call that may begin. It ends once, with what it says of its tool. */
export interface GatePass {
  readonly waitedMs: number;
  end(verdict: BreakerVerdict): void;
}

/** What a call passes before it begins: the queue of its tool, then its breaker. */
export interface ToolGates {
  limitsOf(toolName: string): ToolLimits;
  /**
   * At once where a place is free, or where it is refused; else a promise, which rejects with the reason of the signal or what
   * {@link Shares.enter} throws.
   */
  enter(found: CataloguedTool, holder: Holder, signal: AbortSignal): GatePass | NexusError | Promise<GatePass | NexusError>;
}

/** More breakers than this are not remembered: one that is forgotten is closed. */
const maxBreakers = 10_000;
const maxNames = 10_000;

/**
 * One queue for each tool; a tool that a tenant added has one for that tenant. Breakers are of a tenant and a version of a tool: what one tenant
 * calls a tool with closes it for no other, and a definition that was mended begins anew.
 */
export function createToolGates({ clock, timers, settings, observer }: ToolGatesOptions): ToolGates {
  const queues = new Map<string, Shares>();
  const breakers = new LRUCache<string, BreakerState>({ max: maxBreakers });
  const known = new LRUCache<string, ToolLimits>({ max: maxNames });
  let waiting = 0;

  function limitsOf(toolName: string): ToolLimits {
    const found = known.get(toolName) ?? limitsFor(toolName, settings);
    known.set(toolName, found);
    return found;
  }

  function queueOf(key: string, toolName: string, { concurrency, queueMs, maxQueued }: ToolLimits): Shares {
    const found = queues.get(key);
    if (found !== undefined) return found;
    let before = 0;
    const made = createShares({
      ...{ clock, timers, what: `calls of ${toolName}`, maxWaitMs: queueMs, maxWaiting: maxQueued },
      // A quarter is kept for tenants, sessions and runs that have none.
      ...{ places: concurrency - Math.floor(concurrency / 4), spare: Math.floor(concurrency / 4) },
      settings: { maxWaitMs: 'queueMs in tools.limits', maxWaiting: 'maxQueued in tools.limits' },
      observer: {
        depth(now) {
          waiting += now - before;
          before = now;
          observer?.depth(waiting);
        },
        ended: (outcome, waitedMs) => observer?.ended(outcome, waitedMs),
      },
    });
    queues.set(key, made);
    return made;
  }

  function forgetIdle(key: string): void {
    const queue = queues.get(key);
    if (queue?.inUse === 0 && queue.waiting === 0) queues.delete(key);
  }

  return {
    limitsOf,
    enter(found, holder, signal) {
      const { name, version, source = 'program' } = found.descriptor;
      const limits = limitsOf(name);
      const isShared = source === 'built-in' || source === 'program';
      const queueKey = isShared ? name : `${holder.tenantId}\n${name}`;
      // What built-in tools reach is in their arguments: a host that is down says nothing of the tool.
      const rules = source === 'built-in' ? null : limits.breaker;
      const breakerKey = `${holder.tenantId}\n${name}\n${version}`;
      const stateOf = () => breakers.get(breakerKey) ?? closedBreaker;
      const put = (before: BreakerState, after: BreakerState) => {
        if (after !== before) breakers.set(breakerKey, after);
      };

      function refusalOf(retryAfterMs: number, failures: number): NexusError {
        const seconds = Math.max(1, Math.ceil(retryAfterMs / 1_000));
        return new NexusError(
          'tool_unavailable',
          `${name} failed ${failures} times in a row by its own fault and is left alone: the next call is let through in ${seconds} s; this one did not begin`,
          { details: { retryAfterMs: Math.ceil(retryAfterMs), failures }, retryAfterMs: Math.ceil(retryAfterMs) },
        );
      }

      function passedBreaker(entry: Entry): GatePass | NexusError {
        const leave = () => {
          entry.leave();
          forgetIdle(queueKey);
        };
        let pass: BreakerPass | undefined;
        if (rules !== null) {
          const before = stateOf();
          const answer = askBreaker(before, clock.monotonic());
          if (answer.type === 'refused') {
            leave();
            return refusalOf(answer.retryAfterMs, rules.failures);
          }
          put(before, answer.state);
          pass = answer.pass;
        }
        let isOver = false;
        return {
          waitedMs: entry.waitedMs,
          end(verdict) {
            if (isOver) return;
            isOver = true;
            leave();
            if (rules === null || pass === undefined) return;
            const before = stateOf();
            put(before, tellBreaker(before, pass, verdict, clock.monotonic(), rules));
          },
        };
      }

      if (rules !== null) {
        // Nobody waits for a turn only to be refused.
        const answer = askBreaker(stateOf(), clock.monotonic());
        if (answer.type === 'refused') return refusalOf(answer.retryAfterMs, rules.failures);
      }
      const queue = queueOf(queueKey, name, limits);
      const entry = queue.enterNow(holder);
      if (entry !== null) return passedBreaker(entry);
      return queue.enter(holder, signal).then(passedBreaker, (error: unknown) => {
        forgetIdle(queueKey);
        throw error;
      });
    },
  };
}
