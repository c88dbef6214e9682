import { server, type Violation } from './violation.ts';

/** What the generated pages and the tables behind them keep out. */
export const documentViolations: readonly Violation[] = [
  {
    gate: 'configuration reference out of step',
    step: 'configuration',
    file: `${server}/runs/config/index.ts`,
    plant: (before) => before.replace('How long SIGTERM lets', 'Planted'),
    caught: /docs\/configuration\.md is out of date/,
  },
  {
    gate: 'configuration key without a description',
    step: 'configuration',
    file: `${server}/runs/config/index.ts`,
    plant: (before) => before.replace('drainMs: setting(', 'plantedMs: durationMs().default(1),\n  drainMs: setting('),
    caught: /no description: plantedMs/,
  },
  {
    gate: 'configuration key that nothing reads',
    step: 'configuration',
    file: `${server}/runs/config/index.ts`,
    plant: (before) => before.replace('drainMs: setting(', "plantedMs: setting(durationMs().default(1), 'Planted.'),\n  drainMs: setting("),
    caught: /nothing reads: plantedMs/,
  },
  {
    gate: 'configuration slice that knows its module',
    step: 'architecture',
    file: `${server}/tools/config/planted.ts`,
    plant: "import '#tools';\n",
    caught: /tools\/config\/planted\.ts:1 {2}config /,
  },
  {
    gate: 'bug that can no longer be planted',
    step: 'mutants',
    file: `${server}/storage/commit/gate.ts`,
    plant: (before) => before.replace('!books.alone', 'books.alone === false'),
    caught: /storage\/commit\/gate\.ts {2}mutant-place /,
  },
  {
    gate: 'error code that nothing raises',
    step: 'errors',
    file: `${server}/api/http/errors.ts`,
    plant: (before) => before.replaceAll("'request_timeout'", "'invalid_request'"),
    caught: /never-raised {2}request_timeout/,
  },
  {
    gate: 'error details that nothing writes',
    step: 'errors',
    file: 'packages/protocol/src/error-table.ts',
    plant: (before) => before.replace("scope: 'the scope that the key lacks'", "unwritten: 'x', scope: 'the scope that the key lacks'"),
    caught: /unfounded-detail {2}forbidden: .*unwritten/,
  },
  {
    gate: 'error details without a word in the table',
    step: 'errors',
    file: `${server}/api/http/authenticate.ts`,
    plant: (before) => before.replace('details: { scope }', 'details: { scope, planted: 1 }'),
    caught: /undocumented-detail {2}forbidden: planted/,
  },
];
