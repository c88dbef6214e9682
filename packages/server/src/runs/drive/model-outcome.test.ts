import { noUsage } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import type { RunModelOutcome } from './model-call.ts';
import { checkSummary, proposeFailures } from './model-outcome.ts';

it('a summary that cannot be used is paid for all the same, and says which of its counts were assumed', () => {
  const usage = { ...noUsage, inputTokens: 900, outputTokens: 30 };
  // What is read of an outcome.
  const outcome = {
    type: 'completed',
    attempt: {
      call: { purpose: 'compaction', step: 2, callId: 'c' },
      attempt: 1,
      askedTokens: 100,
      target: { provider: 'p', model: 'm', price: null },
      reserve: { reservationId: 'r' },
    },
    grant: { maxTokens: 100, wallMs: 1_000 },
    part: {
      type: 'completed',
      content: [],
      finishReason: 'stop',
      usage,
      assumed: ['inputTokens'],
      timeToFirstTokenMs: null,
      durationMs: 5,
    },
    failures: [],
  } as unknown as RunModelOutcome;
  const checked = checkSummary(outcome);
  if (checked.type !== 'failed') throw new Error('it is empty');
  const { events, ledger } = proposeFailures(checked.failures);
  expect(ledger).toMatchObject([{ type: 'settle', reservationId: 'r', actual: { tokens: 930 } }]);
  expect(events([{ type: 'settled', amounts: { tokens: 930 }, outcome: 'settled' }])[0]).toMatchObject({
    type: 'model.failed',
    data: { usage, assumed: ['inputTokens'] },
  });
});
