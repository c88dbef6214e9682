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
    gate: 'configuration slice that knows its module',
    step: 'architecture',
    file: `${server}/tools/config/planted.ts`,
    plant: "import '#tools';\n",
    caught: /tools\/config\/planted\.ts:1 {2}config /,
  },
];
