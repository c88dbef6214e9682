import { type BreakerRules, matchesWildcard } from '#core';

/** What is said of some tools, by name or pattern. What it leaves out, a pattern that says less about the name decides. */
export interface ToolLimitSettings {
  readonly concurrency?: number | undefined;
  readonly queueMs?: number | undefined;
  readonly maxQueued?: number | undefined;
  readonly timeoutMs?: number | undefined;
  readonly breaker?: false | { readonly [rule in keyof BreakerRules]?: number | undefined } | undefined;
}

/** The limits of one tool. */
export interface ToolLimits {
  /** Calls under way at a time in this process. */
  readonly concurrency: number;
  /** Nothing waits longer for its turn. */
  readonly queueMs: number;
  readonly maxQueued: number;
  /** The longest that a call may take, waiting included; null where the tool alone says so. */
  readonly timeoutMs: number | null;
  /** Null: it is always called. */
  readonly breaker: BreakerRules | null;
}

const defaultBreaker: BreakerRules = { failures: 5, windowMs: 600_000, openMs: 30_000 };
const defaultLimits: ToolLimits = { concurrency: 256, queueMs: 30_000, maxQueued: 10_000, timeoutMs: null, breaker: defaultBreaker };

/** Of the patterns that fit a name the one with the most characters of its own says each value; of equals the first by their order as texts. */
export function limitsFor(name: string, settings: Readonly<Record<string, ToolLimitSettings>>): ToolLimits {
  const own = (pattern: string) => pattern.replaceAll('*', '').length;
  const fitting = Object.keys(settings)
    .filter((pattern) => matchesWildcard(pattern, name))
    .sort((a, b) => own(a) - own(b) || (a < b ? 1 : -1));
  let limits = defaultLimits;
  for (const pattern of fitting) {
    const { breaker, ...said } = settings[pattern] ?? {};
    const given = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
    limits = { ...limits, ...given, breaker: breakerOf(limits.breaker, breaker) };
  }
  return limits;
}

function breakerOf(before: BreakerRules | null, said: ToolLimitSettings['breaker']): BreakerRules | null {
  if (said === undefined) return before;
  if (said === false) return null;
  const { failures, windowMs, openMs } = before ?? defaultBreaker;
  return { failures: said.failures ?? failures, windowMs: said.windowMs ?? windowMs, openMs: said.openMs ?? openMs };
}
