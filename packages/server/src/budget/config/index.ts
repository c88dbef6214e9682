/** The slice of the configuration that budgets own. */
import { durationMs, group, setting } from '#core';

export const budgetConfig = {
  budget: group({
    sweepMs: setting(durationMs().min(100).default(5_000), 'How often reservations whose holder is gone are looked for and closed.'),
  }),
};
