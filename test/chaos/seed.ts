import { randomInt } from 'node:crypto';
import { afterEach } from 'vitest';
import { type Chance, createChance } from '../../packages/server/src/apps/testing/index.ts';

/**
 * All that these tests draw comes from here: moments of kills, victims, whom clients ask, what providers answer. `NEXUS_TEST_CHAOS_SEED`
 * draws the same again; what real processes and a real machine make of it takes its own time.
 */
const seed = process.env.NEXUS_TEST_CHAOS_SEED ?? String(randomInt(1_000_000_000));
process.stderr.write(`chaos: NEXUS_TEST_CHAOS_SEED=${seed}\n`);

/** Draws of their own for each name, whatever others draw meanwhile. */
export function chanceOf(name: string): Chance {
  return createChance(`${seed}/${name}`);
}

/** Says with each test that fails by which seed it did. To be called in a file, or a suite. */
export function tellSeedOfFailures(): void {
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') process.stderr.write(`chaos: "${task.name}" failed under NEXUS_TEST_CHAOS_SEED=${seed}\n`);
  });
}
