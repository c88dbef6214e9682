import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { howMany } from '../support/how-many.ts';
import { verifies } from '../support/verifies.ts';
import { kept } from './kept.ts';
import { ledgerSteps, runSteps, type Step } from './steps.ts';
import { type ModelSubject, postgresModelSubject, sqliteModelSubject } from './subjects.ts';
import { modelClock, World } from './world.ts';

/** Sequences of each kind on SQLite; on Postgres, where each step takes longer, an eighth of them. */
const sequences = howMany('NEXUS_TEST_SEQUENCES', 24);
const seed = process.env.NEXUS_TEST_MODEL_SEED === undefined ? {} : { seed: Number(process.env.NEXUS_TEST_MODEL_SEED) };

/** A failure is made smaller for so long, and then told as it is. */
const shrinkMs = 15_000;

function describeOn(subject: () => ModelSubject, count: number): void {
  const holds = async (steps: fc.Arbitrary<Step[]>) => {
    let failedAt: number | null = null;
    await fc.assert(
      fc.asyncProperty(steps, async (taken) => {
        if (failedAt !== null && performance.now() - failedAt > shrinkMs) return;
        const world = await World.open(subject());
        await world.take(taken).catch((error: unknown) => {
          failedAt ??= performance.now();
          throw error;
        });
      }),
      { numRuns: count, endOnFailure: false, ...seed },
    );
  };
  const timeout = 60_000 + count * 2_000;
  it.each(kept.map((steps) => [steps]))('takes what was once taken otherwise as the model does', async (steps) => {
    await (await World.open(subject())).take(steps);
  });
  it(`keeps the books as the model does, for ${count} sequences ${verifies('model.same')}`, { timeout }, () => holds(ledgerSteps));
  it(`queues, drives, stops and shows runs as the model does, for ${count} sequences ${verifies('model.same')}`, { timeout }, () =>
    holds(runSteps),
  );
}

describe('the model on SQLite', () => {
  let subject: ModelSubject;
  beforeAll(async () => {
    subject = await sqliteModelSubject(modelClock);
  });
  afterAll(() => subject.close());
  describeOn(() => subject, sequences);
});

const postgres = await postgresModelSubject(modelClock);
if ('reason' in postgres) describe('the model on Postgres', () => it.skip(`not run: ${postgres.reason}`));
else
  describe('the model on Postgres', () => {
    afterAll(() => postgres.close());
    describeOn(() => postgres, Math.ceil(sequences / 8));
  });
