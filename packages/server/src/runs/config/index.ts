/** The slice of the configuration that the orchestrator owns. */
import { z } from 'zod';
import { durationMs, setting } from '#core';

const runs = z
  .strictObject({
    leaseMs: setting(
      durationMs().min(500).default(4000),
      'A process that does not renew its lease for so long is taken for dead, and its runs are taken over.',
    ),
    heartbeatMs: setting(durationMs().min(50).default(1000), 'How often a process renews its lease; at most half of `runs.leaseMs`.'),
    pollMs: setting(durationMs().min(10).default(500), 'How often the queue is looked at when nobody wakes the process.'),
    maxLiveRuns: setting(
      z.int().min(1).max(1_000_000).default(12_000),
      'Most runs that one process drives at once; others wait in the queue.',
    ),
    retryTakeMs: setting(durationMs().min(10).default(2_000), 'How long a run rests in the queue that could not be taken up or written.'),
    maxBreaks: setting(
      z.int().min(0).max(100).default(2),
      'So often in a row may the work of a run turn out to be impossible to write; each time may have cost a model call.',
    ),
    deltaCoalesceMs: setting(
      durationMs().max(1000).default(25),
      'Deltas of so long are sent together; the first of a call is sent at once.',
    ),
    maxEqualSteps: setting(
      z.int().min(1).max(1000).default(3),
      'A run that asks for the same calls so often in a row, with the same results, ends with `loop_detected`.',
    ),
    maxDepth: setting(
      z.int().min(0).max(100).default(4),
      'How deep sub-agents may call sub-agents: a run that a person started has depth 0.',
    ),
    minUsefulTokens: setting(
      z.int().min(1).max(100_000).default(16),
      'A model call is refused when the budget affords less than so many output tokens.',
    ),
    stopGraceMs: setting(durationMs().default(2_000), 'How long model and tool calls may take to stop after they were told to.'),
    reservationSlackMs: setting(
      durationMs().default(30_000),
      'A reservation outlives its call’s deadline by so much before it may be charged in full.',
    ),
    compactAt: setting(
      z.number().min(0.1).max(1).default(0.85),
      'Part of a model’s context that a request may fill before old turns are summarised.',
    ),
  })
  .refine((value) => value.heartbeatMs * 2 <= value.leaseMs, {
    path: ['heartbeatMs'],
    error: 'must be at most half of runs.leaseMs, or live runs would be taken from their worker',
  })
  .prefault({});

export const runsConfig = {
  runs,
  drainMs: setting(durationMs().default(15_000), 'How long SIGTERM lets live work finish or hand over.'),
};
