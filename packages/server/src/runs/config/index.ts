/** The slice of the configuration that the orchestrator owns. */
import { z } from 'zod';
import { durationMs, group, setting } from '#core';

const runs = z
  .strictObject({
    leaseMs: setting(
      durationMs().min(500).default(3000),
      'A process that does not renew its lease for so long is taken for dead, and its runs are taken over.',
    ),
    heartbeatMs: setting(
      durationMs().min(50).default(500),
      'How often a process renews its lease and hears of cancelled runs; at most half of `runs.leaseMs`.',
    ),
    pollMs: setting(
      durationMs().min(10).default(500),
      'How often the queue is looked at when nobody wakes the process; twice so long a busy process leaves new work to one that is not.',
    ),
    maxLiveRuns: setting(
      z.int().min(1).max(1_000_000).default(12_000),
      'Most runs that one process drives at once; others wait in the queue.',
    ),
    retryTakeMs: setting(
      durationMs().min(10).max(60_000).default(2_000),
      'How long a run rests in the queue that could not be taken up or written.',
    ),
    maxBreaks: setting(
      z.int().min(0).max(100).default(2),
      'So often in a row may the work of a run turn out to be impossible to write; each time may have cost a model call.',
    ),
    maxDeaths: setting(
      z.int().min(3).max(1_000).default(3),
      'A run whose process died so often before a call of it had an outcome, the last time with nothing else to do, ends as failed (`poisonous`). ' +
        'More where processes are killed all the time by something else.',
    ),
    aloneMs: setting(
      durationMs().min(100).default(10_000),
      'A run is driven alone whose process died twice without progress of the run: for so long at most, then others join it. Three times ' +
        'so long a process keeps to such runs before it serves others for as long.',
    ),
    outagePatienceMs: setting(
      durationMs().default(30_000),
      'How long a process keeps a run that the database does not take, when nobody else has taken it over.',
    ),
    deltaCoalesceMs: setting(
      durationMs().max(1000).default(25),
      'Deltas of so long are sent together; the first of a call is sent at once.',
    ),
    stream: group({
      batchChars: setting(
        z.int().min(1_000).max(1_000_000).default(64_000),
        'A batch for one reader takes no further event once it has so many characters; an event that has more is read piece by piece.',
      ),
      pageEvents: setting(z.int().min(1).max(10_000).default(200), 'Most events that a reader takes from the log at a time.'),
      tailEvents: setting(z.int().min(1).max(10_000).default(64), 'Newest events of each live run that are kept for its readers.'),
      tailChars: setting(z.int().min(1).max(10_000_000).default(64_000), 'Characters of these events.'),
      outputChars: setting(
        z.int().min(1).max(10_000_000).default(64_000),
        'Characters of what tools say that are kept of each live run; the newest message is kept whatever its length.',
      ),
      localPollMs: setting(
        durationMs().min(10).default(5_000),
        'A reader looks into the log after so long without news of a run that is driven here.',
      ),
      busPollMs: setting(durationMs().min(10).default(1_000), 'The same for a run that another process drives, with a bus between them.'),
      logPollMs: setting(durationMs().min(10).default(150), 'The same without a bus.'),
      interestMs: setting(
        durationMs().min(100).default(30_000),
        'How long another process is sent what its readers follow after it last asked; it asks three times as often.',
      ),
    }),
    transcriptChars: setting(
      z.int().min(1).max(10_000_000_000).default(64_000_000),
      'Characters of the journals of ended runs that are kept in memory for the next run of their session.',
    ),
    maxEqualSteps: setting(
      z.int().min(1).max(1000).default(3),
      'A run that asks for the same calls so often in a row, with the same results, ends with `loop_detected`.',
    ),
    maxWaitMs: setting(
      durationMs().default(2_592_000_000),
      'Longest time for which the tool `wait` makes a run sleep; the model is told when it asks for more.',
    ),
    maxRepairs: setting(
      z.int().min(0).max(100).default(2),
      'How often in a run the model is asked again for an answer that does not fit the output schema, or that says nothing.',
    ),
    maxDepth: setting(
      z.int().min(0).max(100).default(4),
      'How deep sub-agents may call sub-agents: a run that a person started has depth 0.',
    ),
    minUsefulTokens: setting(
      z.int().min(1).max(100_000).default(16),
      'A model call is refused when the budget affords less than so many output tokens.',
    ),
    aheadTokens: setting(
      z.int().min(64).max(1_000_000).default(512),
      'A model call that a kill cuts off is charged at most so many tokens more than had come, or twice the largest burst, or a quarter ' +
        'of what came; one of a model that may think unseen is charged its whole reservation, and so is one of which nothing had come, or all in one piece. More: fewer writes, and room for a server ' +
        'that goes on for longer when its client is gone.',
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
    summaryTokens: setting(
      z.int().min(100).max(100_000).optional(),
      'Most tokens of such a summary. Never more than a sixth of the room that the model has for a conversation.',
      { otherwise: '1500, and more for models of more than 60,000 tokens, up to 8000' },
    ),
    keepShare: setting(
      z.number().min(0.05).max(0.95).default(0.4),
      'Part of the room for a conversation that is filled, summary included, when old turns were summarised.',
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
