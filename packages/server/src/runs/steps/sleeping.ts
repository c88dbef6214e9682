import { toTimestamp } from '#core';
import type { RunState } from '#runs/journal';
import type { Engine } from './engine.ts';
import { merge, type Proposal } from './proposal.ts';
import { failure, proposeResult, type ToolEnd } from './tool-result.ts';

/** When a call of the tool `wait` is over; or why that cannot be told, which is the result of the call. */
export function sleepOf(
  { clock, settings }: Pick<Engine, 'clock' | 'settings'>,
  { seconds, until }: Readonly<Record<string, unknown>>,
): { readonly type: 'until'; readonly until: string } | ToolEnd {
  const now = clock.now();
  if ((seconds === undefined) === (until === undefined))
    return failure('tool_input_invalid', 'wait: expected exactly one of seconds and until');
  const ends = typeof seconds === 'number' ? now + seconds * 1_000 : timeOf(until);
  if (Number.isNaN(ends))
    return failure('tool_input_invalid', 'until: expected a time with its zone, such as 2026-05-31T08:00:00Z or 2026-05-31T10:00:00+02:00');
  if (ends - now > settings.maxWaitMs)
    return failure('tool_input_invalid', `wait: expected at most ${Math.floor(settings.maxWaitMs / 1_000)} seconds from now`);
  return { type: 'until', until: toTimestamp(Math.max(now, Math.ceil(ends))) };
}

/** Without a zone a time is another one on each machine. */
function timeOf(until: unknown): number {
  return typeof until === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d.*(Z|[+-]\d\d:\d\d)$/.test(until) ? Date.parse(until) : Number.NaN;
}

/** The waits that are over, by the clock of the store: it is the one that woke the run. */
export async function collectSleepers(engine: Engine, state: RunState): Promise<Proposal> {
  const asleep = state.calls.filter(({ phase }) => phase.type === 'asleep' && phase.awaits === undefined);
  if (asleep.length === 0) return merge([]);
  const now = await engine.store.now();
  return merge(
    asleep.flatMap((call) => {
      if (call.phase.type !== 'asleep' || Date.parse(call.phase.until) > now) return [];
      return [proposeResult(state, call, { type: 'ok', output: `It is ${toTimestamp(now)} now.` })];
    }),
  );
}
