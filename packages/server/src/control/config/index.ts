/** The slice of the configuration that control owns. */
import { z } from 'zod';
import { durationMs, group, setting } from '#core';

/** Whole days; 0 keeps for ever. */
const days = (standard: number, least = 1) =>
  z
    .int()
    .min(0)
    .max(36_500)
    .refine((value) => value === 0 || value >= least, { error: `expected 0, for ever, or at least ${least} days` })
    .default(standard);

export const controlConfig = {
  definitions: group({
    import: setting(
      z.enum(['auto', 'manual']).default('auto'),
      'Whether a node imports new files of its `policiesDir` and `agentsDir` by itself, or only by `nexus definitions import`.',
      { environment: 'NEXUS_DEFINITIONS_IMPORT' },
    ),
    pollMs: setting(
      durationMs().min(50).max(60_000).default(300),
      'How often a node looks whether its folders have changed, and whether another node has imported a version.',
    ),
  }),
  retention: group({
    sessionsDays: setting(
      days(90),
      'A session goes with its runs, their journals and its files so many days after anything last happened in it; 0, here and below, keeps for ever.',
    ),
    decisionsDays: setting(days(365), 'How long decisions of policy are kept.'),
    idempotencyDays: setting(days(7), 'How long a repeated request with the same `Idempotency-Key` gets the first answer.'),
    reservationsDays: setting(days(30), 'How long closed reservations are kept while their session is.'),
    ledgerDays: setting(
      days(90, 32),
      'How long single entries of the ledger are kept, once their run is gone; the sums of each day stay. At least 32 days, so that windows can be counted.',
    ),
    balancesDays: setting(
      days(90),
      'A balance under the limit of every user goes so many days after its user last spent anything; it comes back with what was spent.',
    ),
    contentsDays: setting(
      z.int().min(1).max(36_500).default(1),
      'What files held goes so many days after no file of any session has it any more, and after it was last written: so long a backup of the database stays usable.',
    ),
    workersDays: setting(days(1), 'How long the rows of ended processes are kept.'),
    intervalMs: setting(durationMs().min(100).default(600_000), 'How often one of the processes looks for what is old.'),
    batchRows: setting(z.int().min(1).max(10_000).default(500), 'Most rows that one step deletes.'),
    pauseMs: setting(durationMs().default(20), 'How long it rests between two steps.'),
    readersMs: setting(durationMs().default(60_000), 'Readers of a run that was deleted have so long to read its end.'),
  }),
};
