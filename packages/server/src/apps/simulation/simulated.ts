import type { Plan } from './plan.ts';
import { type SimulationOutcome, simulate } from './simulate.ts';

export interface Simulating {
  /** It is run again and has to be the same to the last byte. */
  readonly twice?: boolean;
  /** Its outcome has the lines for people. */
  readonly trace?: boolean;
}

/** One simulation. What is not the same again is a violation of its own kind. */
export async function simulated(plan: Plan, { twice = false, trace = false }: Simulating = {}): Promise<SimulationOutcome> {
  const outcome = await simulate(plan, { trace });
  if (!twice || outcome.violation !== null) return outcome;
  const { digest } = await simulate(plan);
  return digest === outcome.digest ? outcome : { ...outcome, violation: `determinism: ${outcome.digest} and then ${digest}` };
}
