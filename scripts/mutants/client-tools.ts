import { type Mutant, server } from './mutant.ts';

const tests = ['test/e2e/client-tools.test.ts'];
const resultTests = [`${server}/runs/client-results.test.ts`];
const results = `${server}/runs/client-results.ts`;
const calls = `${server}/runs/steps/client-calls.ts`;
const declared = `${server}/runs/start/client-tools.ts`;

/** Of tools that the client of a run executes. */
export const clientToolMutants: readonly Mutant[] = [
  {
    bug: 'client: another result for the same call is taken for the same',
    file: results,
    replace: 'hasTexts(row, answer) :',
    by: 'row.answer !== null :',
    tests,
  },
  {
    bug: 'client: whoever comes second is told that it was taken',
    file: results,
    replace: "  if (answered.type === 'already') return same(answered.approval, given);",
    by: "  if (answered.type === 'already') return;",
    tests: resultTests,
  },
  {
    bug: 'client: a result is taken when the time is over',
    file: results,
    replace: '  if (row.decision === null) throw over(row);',
    by: '  if (row.decision === null) return;',
    tests: resultTests,
  },
  {
    bug: 'client: the run does not hear of a result',
    file: calls,
    replace: 'if (row !== null && row.decision !== null) {',
    by: "if (row !== null && row.decision === 'approve') {",
    tests,
  },
  {
    bug: 'client: a failure is told as a result',
    file: calls,
    replace: "if (decision !== 'answer') return",
    by: "if (decision === 'approve') return",
    tests,
  },
  {
    bug: 'client: the time of a call has no end',
    file: calls,
    replace: 'if (Date.parse(call.phase.until) > now) return propose({});',
    by: 'return propose({});',
    tests,
  },
  {
    bug: 'client: what waited for a client is left open when its run ends',
    file: `${server}/runs/steps/endings.ts`,
    replace: 'return awaitsClient(call) ?',
    by: 'return awaitsClient(call) && keepQuestions ?',
    tests,
  },
  {
    bug: 'client: people are asked for what a client is to give',
    file: `${server}/control/approvals.ts`,
    replace: "return row.kind !== 'client_result';",
    by: "return row.kind !== ('none' as string);",
    tests,
  },
  {
    bug: 'client: a tool of the server can be named again',
    file: declared,
    replace: 'else if (taken.has(name))',
    by: "else if (taken.has(name) && name === '')",
    tests,
  },
  {
    bug: 'client: a schema is taken as it is',
    file: declared,
    replace: 'if (wrong.length > 0) faults',
    by: 'if (wrong.length > 99) faults',
    tests,
  },
  {
    bug: 'client: a question to a person is answered by a client',
    file: results,
    replace: "row === null || row.kind !== 'client_result'",
    by: 'row === null',
    tests: resultTests,
  },
  {
    bug: 'client: the clock of the process alone says that it is too late',
    file: results,
    replace: 'row.deadlineAt <= clock.now() && row.deadlineAt <= (await store.now())',
    by: 'row.deadlineAt <= clock.now()',
    tests: resultTests,
  },
  {
    bug: 'client: a call costs nothing',
    file: `${server}/runs/steps/tool-start.ts`,
    replace: 'settle(reservationId, { toolCalls: 1 })',
    by: 'settle(reservationId, { toolCalls: 0 })',
    tests: [...tests, 'test/e2e/waits.test.ts'],
  },
  {
    bug: 'client: a list of approvals has what clients are to give',
    file: `${server}/storage/tables/approvals.ts`,
    replace: ".where('kind', '!=', sql.lit('client_result'))",
    by: '',
    tests: ['test/conformance/storage.test.ts'],
  },
  {
    bug: 'client: what a client is to give counts as an approval that waits',
    file: `${server}/storage/tables/measures.ts`,
    replace: "      .where('status', '=', sql.lit('pending'))\n      .where('kind', '!=', sql.lit('client_result')),",
    by: "      .where('status', '=', sql.lit('pending')),",
    tests: ['test/conformance/storage.test.ts'],
  },
  {
    bug: 'client: a call is executed again while it is executed',
    file: 'packages/sdk/src/tools/client-tools.ts',
    replace: '      if (running.has(call.callId)) continue;\n',
    by: '',
    tests,
  },
  {
    bug: 'client result: the wrong shape is taken',
    file: results,
    replace: "if (tool?.outputSchema === undefined || !('output' in result)) return;",
    by: "if (tool?.outputSchema !== undefined || !('output' in result)) return;",
    tests,
  },
  {
    bug: 'client result: what is kept of a long one is not committed',
    file: calls,
    replace: '      propose({ artifacts: [artifactRow(charge, { callId: call.callId, tool: call.name }, artifact)] }),\n',
    by: '',
    tests,
  },
  {
    bug: 'client result: a run stays where there is no room for it',
    file: `${server}/runs/drive/refused.ts`,
    replace: "if (report.type === 'poke' && !found &&",
    by: "if (report.type === 'poke' && found &&",
    tests,
  },
  {
    bug: 'client result: another long one is taken for the same',
    file: results,
    replace: 'keptOf(row)?.sha256 === answer.artifact.sha256',
    by: 'keptOf(row) !== undefined',
    tests,
  },
];
