import { defineConfig } from 'vitest/config';

/**
 * Two projects, one after the other. `units` shares its threads between files. What starts processes, measures the event loop or
 * waits for leases runs afterwards, a file at a time, so that no two of them starve each other on a small machine.
 */
const conditions = ['nexus-source'];
const shared = {
  resolve: { conditions },
  ssr: { resolve: { conditions } },
};
const heavy = [
  'test/**/*.test.ts',
  'packages/server/src/apps/demo/demo.test.ts',
  'packages/server/src/tools/sandbox/*.test.ts',
  'packages/server/src/llm/faults.test.ts',
];
const test = { pool: 'threads', isolate: false, testTimeout: 20_000 } as const;

export default defineConfig({
  test: {
    passWithNoTests: false,
    projects: [
      {
        ...shared,
        test: { ...test, name: 'units', include: ['packages/*/src/**/*.test.ts'], exclude: heavy, sequence: { groupOrder: 0 } },
      },
      { ...shared, test: { ...test, name: 'system', include: heavy, fileParallelism: false, sequence: { groupOrder: 1 } } },
    ],
  },
});
