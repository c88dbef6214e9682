import { type Mutant, server } from './mutant.ts';

const ledgerTests = [`${server}/ledger/in-flight.test.ts`];
const admissionTests = [`${server}/budget/admission.test.ts`];
const boundTests = [`${server}/calls/attempt-bound.test.ts`];
const executorTests = [`${server}/runs/drive/executor.test.ts`];
const totalsTests = [`${server}/runs/drive/totals.test.ts`];

/** Of what a budget holds and grants: the ledger, waiting, what a kill costs, totals. */
export const budgetMutants: readonly Mutant[] = [
  {
    bug: 'budgets: a limit that is set meanwhile does not know what is in flight',
    file: `${server}/ledger/rules.ts`,
    replace: '      reserved += reservation.amounts[unit] ?? 0;\n',
    by: '',
    tests: ledgerTests,
  },
  {
    bug: 'budgets: a charge takes the whole reservation although its work can have used less',
    file: `${server}/ledger/rules.ts`,
    replace: 'bound[unit] ?? whole',
    by: 'whole',
    tests: ledgerTests,
  },
  {
    bug: 'budgets: what comes free while the ledger is asked is missed',
    file: `${server}/budget/admission.ts`,
    replace: 'isDue = book.freed !== seen;',
    by: 'isDue = false;',
    tests: admissionTests,
  },
  {
    bug: 'budgets: whoever comes later asks before those that wait',
    file: `${server}/budget/admission.ts`,
    replace: 'if (crowded !== undefined) lineUp(crowded);',
    by: '',
    tests: admissionTests,
  },
  {
    bug: 'budgets: a run that writes something while it waits loses its place and is never told again',
    file: `${server}/runs/drive/asking.ts`,
    replace: 'if (round.starts.length > 0) place.done();',
    by: 'place.done();',
    tests: executorTests,
  },
  {
    bug: 'budgets: an answer is read beyond what is on record',
    file: `${server}/calls/attempt-bound.ts`,
    replace: 'return tokens <= this.#limit && !this.#isClosed ? true :',
    by: 'return !this.#isClosed ? true :',
    tests: boundTests,
  },
  {
    bug: 'budgets: what the sweeper charged first has no event',
    file: `${server}/runs/steps/proposal.ts`,
    replace: "if (outcome?.type === 'ignored' && outcome.charged !== undefined)",
    by: "if (outcome?.type === 'ignored' && outcome.charged === null)",
    tests: totalsTests,
  },
  {
    bug: 'budgets: tools of a run take their time one after the other',
    file: `${server}/runs/steps/tool-plan.ts`,
    replace: 'beside: besideOf(state, busy),',
    by: 'beside: [],',
    tests: executorTests,
  },
];
