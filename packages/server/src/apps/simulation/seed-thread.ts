import { parentPort } from 'node:worker_threads';
import { makePlan } from './plan.ts';
import type { SimulationOutcome } from './simulate.ts';
import { simulated } from './simulated.ts';

export interface SeedJob {
  readonly seed: string;
  readonly twice: boolean;
}

/** A seed at a time, for as long as its campaign sends some. */
parentPort?.on('message', async ({ seed, twice }: SeedJob) => {
  const outcome: SimulationOutcome = await simulated(makePlan(seed), { twice });
  parentPort?.postMessage(outcome);
});
