import { type Mutant, server } from './mutant.ts';

const ledgerTests = [`${server}/ledger/in-flight.test.ts`];
const admissionTests = [`${server}/budget/admission.test.ts`];
const boundTests = [`${server}/calls/attempt-bound.test.ts`];
const executorTests = [`${server}/runs/drive/executor.test.ts`];
const totalsTests = [`${server}/runs/drive/totals.test.ts`];

/** Of what a budget holds and grants: the ledger, waiting, what a kill costs, totals. */
export const budgetMutants: readonly Mutant[] = [
  {
    bug: 'budgets: money moves while a limit may be new',
    file: `${server}/storage/commit/gate.ts`,
    replace: '{ shared: !books.alone }',
    by: '{ shared: true }',
    tests: ['test/conformance/storage.test.ts'],
  },
  {
    bug: 'budgets: a limit that is set meanwhile does not know what is in flight',
    file: `${server}/ledger/rules.ts`,
    replace: '      reserved += reservation.amounts[unit] ?? 0;\n',
    by: '',
    tests: ledgerTests,
  },
  {
    bug: 'budgets: a failed attempt holds its reservation while it waits behind others',
    file: `${server}/runs/drive/attempts.ts`,
    replace: '    if (request.failures.length === 0) return { waits: report };\n',
    by: '    if (request.failures.length >= 0) return { waits: report };\n',
    tests: [`${server}/runs/drive/attempts.test.ts`],
  },
  {
    bug: 'budgets: users under the limit of every user are not measured',
    file: `${server}/storage/tables/measures.ts`,
    replace: 'and b.inherited = 1',
    by: 'and b.inherited = 2',
    tests: ['test/conformance/storage.test.ts'],
  },
  {
    bug: 'budgets: what is inherited counts as taken away',
    file: `${server}/ledger/rules.ts`,
    replace: 'if (row.limit === null && (row.inherited === true || !underAll))',
    by: 'if (row.limit === null && !underAll)',
    tests: [`${server}/cli/budget-limits.test.ts`],
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
    file: `${server}/budget/line.ts`,
    replace: 'hasFreed ||= answer.freed;',
    by: '',
    tests: admissionTests,
  },
  {
    bug: 'budgets: whoever comes later asks before those that wait',
    file: `${server}/budget/line.ts`,
    replace: 'if (turn === null) passOn(places.indexOf(place));',
    by: 'give(place);',
    tests: admissionTests,
  },
  {
    bug: 'budgets: what fits waits behind what does not',
    file: `${server}/budget/line.ts`,
    replace: 'passOn(places.indexOf(place) + 1);',
    by: 'give(undefined);',
    tests: admissionTests,
  },
  {
    bug: 'budgets: small calls go before a large one for ever',
    file: `${server}/budget/admission.ts`,
    replace: 'return hasWaited(waitMs / 2);',
    by: 'return false;',
    tests: admissionTests,
  },
  {
    bug: 'budgets: whoever waits asks at each turn, although it cannot fit',
    file: `${server}/budget/line.ts`,
    replace: 'asked === null || asked <= available',
    by: 'asked === null || asked > 0',
    tests: admissionTests,
  },
  {
    bug: 'budgets: one that has the turn and does not ask holds up its line',
    file: `${server}/budget/line.ts`,
    replace: 'if (slow === null || isSlow) give(places[0]);',
    by: 'if (slow === null) give(places[0]);',
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
  {
    bug: "budgets: time that is left to an heir ends with the heir's own",
    file: `${server}/ledger/rules.ts`,
    replace: 'wallUntil: Math.max(heir.wallUntil ?? 0, reservation.wallUntil ?? 0)',
    by: 'wallUntil: heir.wallUntil ?? 0',
    tests: [`${server}/ledger/in-flight.test.ts`],
  },
  {
    bug: 'budgets: time is left to an heir for whom others pay',
    file: `${server}/ledger/rules.ts`,
    replace: ' && isHeldAlike(heir, reservation)',
    by: '',
    tests: [`${server}/ledger/in-flight.test.ts`],
  },
  {
    bug: 'budgets: a limit of every user that was taken away still makes rows',
    file: `${server}/ledger/rules.ts`,
    replace: 'forAll === undefined || forAll.limit === null',
    by: 'forAll === undefined',
    tests: [`${server}/ledger/in-flight.test.ts`],
  },
  {
    bug: 'budgets: a clock that lags behind opens the day before again',
    file: `${server}/ledger/rules.ts`,
    replace: 'return period > row.period ?',
    by: 'return period !== row.period ?',
    tests: [`${server}/ledger/in-flight.test.ts`],
  },
  {
    bug: 'budgets: the sweeper stops after a page',
    file: `${server}/budget/sweeper.ts`,
    replace: 'if (expired.length < pageSize || closedNow === 0) return closed;',
    by: 'return closed;',
    tests: [`${server}/budget/sweeper.test.ts`],
  },
  {
    bug: 'budgets: the sweeper may charge a call while it goes on',
    file: `${server}/calls/model-attempt.ts`,
    replace: 'expiresAt: now + timeoutMs + engine',
    by: 'expiresAt: now + engine',
    tests: [`${server}/calls/model-attempt.test.ts`],
  },
  {
    bug: 'budgets: what came from the cache is no use of tokens',
    file: `${server}/calls/model-attempt.ts`,
    replace: 'tokens: usage.inputTokens + usage.outputTokens,',
    by: 'tokens: usage.inputTokens + usage.outputTokens - usage.cacheReadTokens,',
    tests: [`${server}/calls/model-attempt.test.ts`],
  },
  {
    bug: 'budgets: a summary that cannot be used is free',
    file: `${server}/runs/drive/model-outcome.ts`,
    replace: 'sent: true, content: [], durationMs };',
    by: 'sent: false, content: [], durationMs };',
    tests: [`${server}/runs/drive/model-outcome.test.ts`],
  },
  {
    bug: 'budgets: an attempt that failed is forgotten when the budget refuses the next one',
    file: `${server}/runs/drive/attempts.ts`,
    replace:
      "  if (request.failures.length > 0 && (await writer.commit(failures)).type !== 'committed') return 'lost';\n  const { waitedMs }",
    by: '  const { waitedMs }',
    tests: [`${server}/runs/drive/totals.test.ts`],
  },
  {
    bug: 'budgets: a failed answer of more than its limit says nothing of its model',
    file: `${server}/llm/attempt/attempt.ts`,
    replace: 'if (usage.outputTokens > this.#terms.maxOutputTokens) this.#onOverrun();',
    by: '',
    tests: [`${server}/llm/accounts.test.ts`],
  },
];
