/** The slice of the configuration that budgets own. */
import { durationMs, group, setting } from '#core';

export const budgetConfig = {
  budget: group({
    sweepMs: setting(durationMs().min(100).default(5_000), 'How often reservations whose holder is gone are looked for and closed.'),
    waitForReservedMs: setting(
      durationMs().max(600_000).default(30_000),
      'How long a call waits when only what other calls hold stands in its way, before it is refused. 0: it is refused at once.',
    ),
    pollReservedMs: setting(
      durationMs().min(10).default(250),
      'How often the first call that waits so asks again, for what other processes give back.',
    ),
  }),
};
