import { makePlan, type Plan, parsePlan } from './plan.ts';
import { createSeedThreads } from './seed-threads.ts';
import { kindOf, type ShrinkOptions, shrinkPlan } from './shrink.ts';
import type { SimulationOutcome } from './simulate.ts';
import { type Simulating, simulated } from './simulated.ts';
import { timelineOf } from './timeline.ts';

export interface CampaignOptions {
  /** The first seed, and how many. */
  readonly from: number;
  readonly count: number;
  /** Each is run again and has to be the same to the last byte. */
  readonly twice: boolean;
  /** So many at a time, at most: cores that it may use. */
  readonly jobs: number;
  readonly signal: AbortSignal;
  readonly onProgress?: (sum: CampaignSum) => void;
}

export interface CampaignSum {
  readonly simulations: number;
  readonly virtualMs: number;
  readonly events: number;
  readonly runs: number;
  readonly commits: number;
  readonly faults: number;
  readonly failures: readonly { readonly seed: string; readonly violation: string }[];
}

/** A thread takes a second to start: for fewer seeds, one less is quicker. */
const leastSeedsPerThread = 4;

/**
 * Simulates all seeds, `jobs` at a time, each on a thread of its own. Ends early when the signal fires, once those that were begun have
 * ended. Sum and failures are the same for any number of jobs. Fails when a simulation broke by itself.
 */
export async function runCampaign({ from, count, twice, jobs, signal, onProgress }: CampaignOptions): Promise<CampaignSum> {
  const threads = createSeedThreads();
  const lanes = Math.max(1, Math.min(jobs, Math.floor(count / leastSeedsPerThread)));
  let next = from;
  let sum: CampaignSum = { simulations: 0, virtualMs: 0, events: 0, runs: 0, commits: 0, faults: 0, failures: [] };
  const lane = async () => {
    while (next < from + count && !signal.aborted) {
      const seed = String(next++);
      const outcome = await (lanes === 1 ? simulated(makePlan(seed), { twice }) : threads.simulate({ seed, twice }));
      sum = added(sum, seed, outcome);
      onProgress?.(sum);
    }
  };
  try {
    await Promise.all(Array.from({ length: lanes }, lane));
  } finally {
    await threads.close();
  }
  return { ...sum, failures: sum.failures.toSorted((one, other) => Number(one.seed) - Number(other.seed)) };
}

function added(sum: CampaignSum, seed: string, outcome: SimulationOutcome): CampaignSum {
  const { violation } = outcome;
  return {
    simulations: sum.simulations + 1,
    virtualMs: sum.virtualMs + outcome.virtualMs,
    events: sum.events + outcome.events,
    runs: sum.runs + outcome.runs,
    commits: sum.commits + outcome.commits,
    faults: sum.faults + outcome.faults,
    failures: violation === null ? sum.failures : [...sum.failures, { seed, violation }],
  };
}

/** One simulation with all that happened, as a timeline. */
export async function tellSimulation(
  plan: Plan,
  telling: Pick<Simulating, 'twice'> = {},
): Promise<{ readonly outcome: SimulationOutcome; readonly timeline: string }> {
  const outcome = await simulated(plan, { ...telling, trace: true });
  return { outcome, timeline: timelineOf(outcome.lines) };
}

/** The least that breaks what the plan breaks; the plan itself where it breaks nothing. An abort ends it with the least found so far. */
export async function smallestFailure(plan: Plan, { twice, ...search }: Pick<Simulating, 'twice'> & ShrinkOptions = {}): Promise<Plan> {
  const telling = twice === undefined ? {} : { twice };
  const { violation } = await simulated(plan, telling);
  if (violation === null) return plan;
  const breaks = async (smaller: Plan) => {
    const outcome = await simulated(smaller, telling);
    return outcome.violation !== null && kindOf(outcome.violation) === kindOf(violation);
  };
  return shrinkPlan(plan, breaks, search);
}

export { makePlan, parsePlan, shrinkPlan };
