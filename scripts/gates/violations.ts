/** One deliberate violation for each gate. Data only; `scripts/verify-gates.ts` plants them, one at a time, in a copy of the repository. */
export interface Violation {
  /** What the gate keeps out. */
  readonly gate: string;
  /** The step of `npm run verify` that must catch it. */
  readonly step: string;
  readonly file: string;
  /** The whole content of a new file, or what is done to an existing one. */
  readonly plant: string | ((before: string) => string);
  /** What the step must print: the rule's name, and where. */
  readonly caught: RegExp;
  /** Narrows the step to what matters here, where running all of it would only cost time. */
  readonly args?: readonly string[];
}

const src = 'packages/server/src';

/** Files under `planted.ts` import something that is really there, so that only the rule under test is broken. */
export const violations: readonly Violation[] = [
  { gate: 'format', step: 'format', file: `${src}/core/planted.ts`, plant: 'export const   a = "x"\n', caught: /core\/planted\.ts format/ },
  {
    gate: 'any',
    step: 'lint',
    file: `${src}/core/planted.ts`,
    plant: 'export const a: any = 1;\n',
    caught: /core\/planted\.ts.* lint\/suspicious\/noExplicitAny/,
  },
  {
    gate: 'console',
    step: 'lint',
    file: `${src}/core/planted.ts`,
    plant: "console.log('x');\n",
    caught: /core\/planted\.ts.* lint\/suspicious\/noConsole/,
  },
  {
    gate: 'floating promise',
    step: 'lint',
    file: `${src}/core/planted.ts`,
    plant: 'async function later(): Promise<void> {}\nexport function start(): void {\n  later();\n}\n',
    caught: /core\/planted\.ts.* lint\/nursery\/noFloatingPromises|core\/planted\.ts.* lint\/\w+\/noFloatingPromises/,
  },
  {
    gate: 'type error',
    step: 'types',
    file: `${src}/core/planted.ts`,
    plant: "export const a: number = 'x';\n",
    caught: /core\/planted\.ts.*TS2322/,
  },
  {
    gate: 'unchecked index',
    step: 'types',
    file: `${src}/core/planted.ts`,
    plant: 'export const first = (list: string[]): string => list[0];\n',
    caught: /core\/planted\.ts.*TS2322/,
  },
  {
    gate: 'upward layer import',
    step: 'architecture',
    file: `${src}/core/planted.ts`,
    plant: "import '#storage';\n",
    caught: /core\/planted\.ts:1 {2}layer /,
  },
  {
    gate: 'sibling import',
    step: 'architecture',
    file: `${src}/budget/planted.ts`,
    plant: "import '#policy';\n",
    caught: /budget\/planted\.ts:1 {2}sibling /,
  },
  {
    gate: 'type-only sibling import',
    step: 'architecture',
    file: `${src}/tools/planted.ts`,
    plant: "import type { Policy } from '#policy';\nexport type Planted = Policy;\n",
    caught: /tools\/planted\.ts:1 {2}sibling /,
  },
  {
    gate: 'inline type import of a sibling',
    step: 'architecture',
    file: `${src}/tools/planted.ts`,
    plant: "export type Planted = import('#policy').Policy;\n",
    caught: /tools\/planted\.ts:1 {2}sibling /,
  },
  {
    gate: 'deep import past a door',
    step: 'architecture',
    file: `${src}/storage/planted.ts`,
    plant: "import '../core/clock.ts';\n",
    caught: /storage\/planted\.ts:1 {2}door /,
  },
  {
    gate: 'deep import into a package',
    step: 'architecture',
    file: `${src}/core/planted.ts`,
    plant: "import '../../../protocol/src/ids.ts';\n",
    caught: /core\/planted\.ts:1 {2}door /,
  },
  {
    gate: 'driver import outside apps',
    step: 'architecture',
    file: `${src}/runs/planted.ts`,
    plant: "import '#storage/drivers';\n",
    caught: /runs\/planted\.ts:1 {2}driver /,
  },
  {
    gate: 'driver import by its own module',
    step: 'architecture',
    file: `${src}/llm/planted.ts`,
    plant: "import './sim/index.ts';\n",
    caught: /llm\/planted\.ts:1 {2}driver /,
  },
  {
    gate: 'api to storage',
    step: 'architecture',
    file: `${src}/api/planted.ts`,
    plant: "await import('#storage');\n",
    caught: /api\/planted\.ts:1 {2}api-storage /,
  },
  {
    gate: 'test code in source',
    step: 'architecture',
    file: `${src}/core/planted.ts`,
    plant: "import './core.test.ts';\n",
    caught: /core\/planted\.ts:1 {2}test-in-source /,
  },
  {
    gate: 'module without a layer',
    step: 'architecture',
    file: `${src}/planted/index.ts`,
    plant: "import '#core';\n",
    caught: /planted\/index\.ts:1 {2}unknown-module /,
  },
  {
    gate: 'import of nothing',
    step: 'architecture',
    file: `${src}/core/planted.ts`,
    plant: "import '#nowhere';\n",
    caught: /core\/planted\.ts:1 {2}unresolved /,
  },
  {
    gate: 'protocol depends on zod only',
    step: 'architecture',
    file: 'packages/protocol/src/planted.ts',
    plant: "import 'node:fs';\n",
    caught: /protocol\/src\/planted\.ts:1 {2}package-dependency /,
  },
  {
    gate: 'sdk depends on protocol only',
    step: 'architecture',
    file: 'packages/sdk/src/planted.ts',
    plant: "import 'zod';\n",
    caught: /sdk\/src\/planted\.ts:1 {2}package-dependency /,
  },
  {
    gate: 'undeclared dependency',
    step: 'architecture',
    file: `${src}/core/planted.ts`,
    plant: "import 'oxc-parser';\n",
    caught: /core\/planted\.ts:1 {2}undeclared-dependency /,
  },
  {
    gate: 'type-only cycle',
    step: 'architecture',
    file: `${src}/core/clock.ts`,
    plant: (before) => `import type * as door from './index.ts';\nexport type Planted = typeof door;\n${before}`,
    caught: /core\/\w+\.ts {2}cycle /,
  },
  {
    gate: 'dead file',
    step: 'dead-code',
    file: `${src}/core/planted.ts`,
    plant: 'export const a = 1;\n',
    caught: /Unused files[\s\S]*core\/planted\.ts/,
  },
  {
    gate: 'dead export',
    step: 'dead-code',
    file: `${src}/core/clock.ts`,
    plant: (before) => `${before}\nexport const plantedExport = 1;\n`,
    caught: /Unused exports[\s\S]*plantedExport/,
  },
  {
    gate: 'dead name in a door',
    step: 'dead-code',
    file: `${src}/core/index.ts`,
    plant: (before) => `${before}\nexport const plantedName = 1;\n`,
    caught: /Unused exports[\s\S]*plantedName/,
  },
  {
    gate: 'unused dependency',
    step: 'dead-code',
    file: 'packages/protocol/package.json',
    plant: (before) => before.replace('"zod"', '"undici": "8.12.4",\n    "zod"'),
    caught: /Unused dependencies[\s\S]*undici/,
  },
  {
    gate: 'file over 600 lines',
    step: 'text',
    file: `${src}/core/planted.ts`,
    plant: '// line\n'.repeat(601),
    caught: /core\/planted\.ts {2}file-length /,
  },
  {
    gate: 'machine path',
    step: 'text',
    file: 'docs/planted.md',
    plant: 'See /home/someone/project.\n',
    caught: /docs\/planted\.md:1 {2}machine-path /,
  },
  {
    gate: 'registry host in the lockfile',
    step: 'text',
    file: 'package-lock.json',
    plant: (before) => before.replace('"version":', '"resolved": "https://registry.example.com/x.tgz",\n      "version":'),
    caught: /package-lock\.json:\d+ {2}registry-host /,
  },
  {
    gate: 'lockfile out of step',
    step: 'lockfile',
    file: 'packages/protocol/package.json',
    plant: (before) => before.replace(/"zod": "[^"]*"/, '"zod": "4.0.0"'),
    caught: /lockfile-differs/,
  },
  {
    gate: 'lockfile of one platform only',
    step: 'lockfile',
    file: 'package-lock.json',
    plant: (before) => before.replace('"node_modules/@biomejs/cli-darwin-arm64"', '"node_modules/@biomejs/cli-planted"'),
    caught: /lockfile-incomplete {2}@biomejs\/cli-darwin-arm64/,
  },
  {
    gate: 'unfinished work',
    step: 'text',
    file: `${src}/core/planted.ts`,
    plant: '// TODO later\n',
    caught: /core\/planted\.ts:1 {2}unfinished /,
  },
  {
    gate: 'exclusive test',
    step: 'text',
    file: `${src}/core/planted.test.ts`,
    plant: "it.only('x', () => {});\n",
    caught: /planted\.test\.ts:1 {2}exclusive-test /,
  },
  {
    gate: 'skipped test',
    step: 'text',
    file: `${src}/core/planted.test.ts`,
    plant: "it.skip('x', () => {});\n",
    caught: /planted\.test\.ts:1 {2}skipped-test /,
  },
  { gate: 'dead link', step: 'text', file: 'docs/planted.md', plant: '[x](nowhere.md)\n', caught: /docs\/planted\.md:1 {2}broken-link / },
  {
    gate: 'API document out of step',
    step: 'openapi',
    file: `${src}/api/routes/system.ts`,
    plant: (before) => before.replace("summary: 'Whether the process lives'", "summary: 'Planted'"),
    caught: /docs\/openapi\.json is out of date/,
  },
  {
    gate: 'peer that declares nothing',
    step: 'architecture',
    file: 'bench/peers/planted.mjs',
    plant: "import 'undici';\n",
    caught: /bench\/peers\/planted\.mjs:1 {2}undeclared-dependency /,
  },
  {
    gate: "source behind a module's test door",
    step: 'architecture',
    file: `${src}/cli/planted.ts`,
    plant: "import '#api/testing';\n",
    caught: /cli\/planted\.ts:1 {2}test-in-source /,
  },
  {
    gate: 'requirement without a test',
    step: 'requirements',
    file: 'test/requirements.ts',
    plant: (before) => before.replace('requirements = {', "requirements = {\n  'planted.promise': { promise: 0, behaviour: 'x' },"),
    caught: /untested-requirement {2}planted\.promise/,
  },
  {
    gate: 'citation of no requirement',
    step: 'requirements',
    file: `${src}/core/planted.test.ts`,
    plant: "it('x [verifies planted.nothing]', () => {});\n",
    caught: /planted\.test\.ts:1 {2}unknown-requirement {2}planted\.nothing/,
  },
  {
    gate: 'failing test',
    step: 'tests',
    file: 'packages/protocol/src/planted.test.ts',
    plant: "import { expect, it } from 'vitest';\nit('plantedFailure', () => expect(1).toBe(2));\n",
    caught: /FAIL[\s\S]*plantedFailure/,
    args: ['packages/protocol/src/planted.test.ts'],
  },
  {
    gate: 'unhandled rejection in a test',
    step: 'tests',
    file: 'packages/protocol/src/planted.test.ts',
    plant:
      "import { it } from 'vitest';\nit('leaves a promise behind', async () => {\n  void Promise.reject(new Error('plantedRejection'));\n  await new Promise((resolve) => setTimeout(resolve, 20));\n});\n",
    caught: /Unhandled[\s\S]*plantedRejection/,
    args: ['packages/protocol/src/planted.test.ts'],
  },
];
