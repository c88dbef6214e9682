import type { RunState } from '#runs/journal';
import type { RunContext } from './context.ts';
import type { BegunTool } from './tool-start.ts';

/** An attempt that goes on without the process that began it. */
export interface RejoinedTool {
  readonly begun: BegunTool;
  /** What is reserved of time for it; null where time is not counted. */
  readonly heldWallMs: number | null;
}

/**
 * The calls that were in flight when the last worker was lost, and go on where they are: the same attempts, decided and paid for, which are
 * waited for again.
 */
export function rejoinedTools({ tools }: Pick<RunContext, 'tools'>, { calls, openReservations }: RunState): readonly RejoinedTool[] {
  return calls.flatMap((call) => {
    const { phase, attempt, name } = call;
    const reservationId = attempt?.reservationId ?? null;
    if (phase.type !== 'started' || attempt === null || attempt.childRunId !== null || reservationId === null) return [];
    const held = Object.hasOwn(openReservations, reservationId) ? openReservations[reservationId] : undefined;
    if (held === undefined) return [];
    const tool = tools.find((candidate) => candidate.name === name);
    // Under another tool of that name nothing would be found of it.
    if (tool?.rejoinable !== true || tool.effects !== attempt.effects) return [];
    const { idempotencyKey } = attempt;
    const input = (attempt.input ?? {}) as Record<string, unknown>; // as it was checked before it began
    const begun = { call, tool, input, attempt: attempt.attempt, idempotencyKey, resume: null, reserve: { reservationId }, decision: null };
    return [{ begun, heldWallMs: held.wallMs ?? null }];
  });
}
