import type { LedgerOutcome } from '#ledger';
import { budgetStop, merge, type Proposal, type Round, type Start } from '#runs/steps';
import { type AttemptParts, lowerModelStart } from './attempts.ts';

export interface AskingParts extends AttemptParts {
  /** Begins what was announced. */
  readonly begin: (start: Start, outcome: LedgerOutcome | undefined) => void;
}

/** Writes a round, moves the state on and begins what was announced. `lost`: the run is another worker's. */
export async function writeRound(parts: AskingParts, round: Round): Promise<Round['end'] | 'lost'> {
  const { writer, place, begin } = parts;
  const before = merge(round.written);
  const all = round.starts.length === 0 ? before : merge([...round.written, ...round.starts.map((start) => start.proposal)]);
  const result = await writer.commit(all);
  if (result.type === 'refused') return writeSingly(parts, before, round.starts);
  if (result.type !== 'committed') return 'lost';
  let used = before.ledger.length;
  for (const start of round.starts) {
    begin(start, result.outcomes[used]);
    used += start.proposal.ledger.length;
  }
  if (round.starts.length > 0) place.done();
  return round.end;
}

/**
 * A budget refused the whole: what finished is written for itself, then each start has its own try until one is refused. That one
 * waits where others hold what is missing, or it stops the run.
 */
async function writeSingly(parts: AskingParts, before: Proposal, starts: readonly Start[]): Promise<null | 'lost'> {
  const { writer, place, stopping, begin } = parts;
  if ((await writer.commit(before)).type !== 'committed') return 'lost';
  for (let start of starts) {
    let result = await writer.commit(start.proposal);
    const lower = result.type === 'refused' ? await lowerModelStart(parts, start, result.refusal) : null;
    if (lower !== null) {
      start = lower;
      result = await writer.commit(start.proposal);
    }
    if (result.type === 'committed') {
      begin(start, result.outcomes[0]);
      continue;
    }
    if (result.type !== 'refused') return 'lost';
    const waitedMs = place.waitedMs();
    if (place.refused(result)) return null;
    place.done();
    // What already runs may finish; its results are kept for when the run is resumed.
    stopping.after(budgetStop(result.refusal, start.effect.type, waitedMs));
    return null;
  }
  place.done();
  return null;
}
