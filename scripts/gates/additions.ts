/** What `npm run verify:gates` adds, all at once, to see that the newcomer's map leads there. Data only. */
export interface Addition {
  /** The first column of the row that is followed. */
  readonly adds: string;
  /** What the names in the row's paths stand for. */
  readonly values: Readonly<Record<string, string>>;
  /** What is done in files of the row; each is the first that fits. Nothing is there before in a file that is new. */
  readonly edits: readonly { readonly file: RegExp; readonly change: (before: string) => string }[];
  /** What `docs/openapi.json` then says, when it is to say anything. */
  readonly seen?: RegExp;
  /** The tests that must pass. */
  readonly tests: readonly string[];
}

export const additions: readonly Addition[] = [
  {
    adds: 'an event of the journal',
    values: {},
    edits: [
      {
        file: /\/events\.ts$/,
        change: (before) => before.replace(/^} as const\);/m, "  'planted.happened': z.object({ step }),\n} as const);"),
      },
      { file: /\/transitions\.ts$/, change: (before) => before.replace("case 'policy.denied':", "$&\n    case 'planted.happened':") },
      { file: /\.test\.ts$/, change: (before) => before.replace(/^ {2}'run\.cancelled',$/m, "$&\n  'planted.happened',") },
    ],
    seen: /"planted\.happened"/,
    tests: ['packages/protocol/src', 'packages/server/src/runs/journal'],
  },
  {
    adds: 'an endpoint of a resource',
    values: { resource: 'approvals' },
    edits: [
      {
        file: /\/routes\//,
        change: (before) =>
          before.replace(
            /\[\n(\s*)route\(\{/,
            `[
$1route({
$1  method: 'GET',
$1  path: '/v1/approvals/planted',
$1  operationId: 'planted',
$1  summary: 'Planted',
$1  tag,
$1  scope: 'approvals',
$1  responses: { 200: { description: 'Planted', schema: page(Approval) } },
$1  handle: async () => ({ status: 200, body: { data: [], nextCursor: null } }),
$1}),
$1route({`,
          ),
      },
    ],
    seen: /"\/v1\/approvals\/planted"/,
    tests: ['openapi.test.ts'],
  },
  {
    adds: 'a tool',
    values: { name: 'planted' },
    edits: [
      {
        file: /\/builtin\/planted\.ts$/,
        change: () => `import type { Tool } from '#tools/contract';

export function createPlantedTool(): Tool {
  return {
    name: 'planted',
    description: 'A tool that was planted, and says so.',
    inputSchema: { type: 'object', additionalProperties: false },
    effects: 'none',
    permissions: [],
    timeoutMs: 1_000,
    execute: () => Promise.resolve({ type: 'ok', output: 'planted' }),
  };
}
`,
      },
      {
        file: /\/builtin\/index\.ts$/,
        change: (before) =>
          `import { createPlantedTool } from './planted.ts';\n${before.replace('createAskHumanTool(),', 'createAskHumanTool(),\n    createPlantedTool(),')}`,
      },
      { file: /\/builtin\.test\.ts$/, change: (before) => before.replace("'ask_human none',", "$&\n    'planted none',") },
    ],
    tests: ['tools/sources/builtin/builtin.test.ts'],
  },
  {
    adds: 'a source of tools',
    values: { name: 'planted' },
    edits: [
      {
        file: /\/planted\/index\.ts$/,
        change: () => `import { createFixedSource } from '#tools';
import type { ToolSource } from '#tools/contract';

export function createPlantedSource(): ToolSource {
  return createFixedSource([]);
}
`,
      },
      { file: /\/sources\/index\.ts$/, change: (before) => `${before}export { createPlantedSource } from './planted/index.ts';\n` },
      {
        file: /\/apps\/tools\.ts$/,
        change: (before) =>
          before
            .replace('  createPluginSource,\n', '  createPlantedSource,\n  createPluginSource,\n')
            .replace('plugins, ...sources]', 'plugins, createPlantedSource(), ...sources]'),
      },
    ],
    tests: ['tools/sources'],
  },
];
