import { makePlan, type Plan, parsePlan } from './plan.ts';
import { kindOf, type ShrinkOptions, shrinkPlan } from './shrink.ts';
import { type SimulationOutcome, simulate } from './simulate.ts';
import { timelineOf } from './timeline.ts';

export interface CampaignOptions {
  /** The first seed, and how many. */
  readonly from: number;
  readonly count: number;
  /** Each is run again and has to be the same to the last byte. */
  readonly twice: boolean;
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

/** Simulates seed after seed. Ends early when the signal fires. */
export async function runCampaign({ from, count, twice, signal, onProgress }: CampaignOptions): Promise<CampaignSum> {
  let sum: CampaignSum = { simulations: 0, virtualMs: 0, events: 0, runs: 0, commits: 0, faults: 0, failures: [] };
  for (let number = from; number < from + count && !signal.aborted; number++) {
    const seed = String(number);
    const outcome = await simulated(makePlan(seed), { twice });
    const { violation } = outcome;
    sum = {
      simulations: sum.simulations + 1,
      virtualMs: sum.virtualMs + outcome.virtualMs,
      events: sum.events + outcome.events,
      runs: sum.runs + outcome.runs,
      commits: sum.commits + outcome.commits,
      faults: sum.faults + outcome.faults,
      failures: violation === null ? sum.failures : [...sum.failures, { seed, violation }],
    };
    onProgress?.(sum);
  }
  return sum;
}

interface Telling {
  /** It is run again and has to be the same to the last byte. */
  readonly twice?: boolean;
}

async function simulated(plan: Plan, { twice = false, trace = false }: Telling & { readonly trace?: boolean } = {}) {
  const outcome = await simulate(plan, { trace });
  if (!twice || outcome.violation !== null) return outcome;
  const { digest } = await simulate(plan);
  return digest === outcome.digest ? outcome : { ...outcome, violation: `determinism: ${outcome.digest} and then ${digest}` };
}

/** One simulation with all that happened, as a timeline. */
export async function tellSimulation(
  plan: Plan,
  telling: Telling = {},
): Promise<{ readonly outcome: SimulationOutcome; readonly timeline: string }> {
  const outcome = await simulated(plan, { ...telling, trace: true });
  return { outcome, timeline: timelineOf(outcome.lines) };
}

/** The least that breaks what the plan breaks; the plan itself where it breaks nothing. An abort ends it with the least found so far. */
export async function smallestFailure(plan: Plan, { twice, ...search }: Telling & ShrinkOptions = {}): Promise<Plan> {
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
