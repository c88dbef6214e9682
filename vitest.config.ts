import { defineConfig } from 'vitest/config';

/**
 * Four projects, one after the other. `units` shares its threads between files. What starts processes, measures the event loop or
 * waits for leases runs afterwards, a file at a time, so that no two of them starve each other on a small machine: as `system`, as
 * `long` where it kills and starts processes again and again, which `npm run test:long` does, or as `hostile` where it attacks
 * servers of its own, which `npm run verify:hostile` does. `long` is also what waits long, or much, so that the others take minutes.
 */
const conditions = ['nexus-source'];
const shared = {
  resolve: { conditions },
  ssr: { resolve: { conditions } },
};
const heavy = [
  'test/**/*.test.ts',
  'packages/server/src/tools/sandbox/*.test.ts',
  'packages/server/src/tools/sources/mcp/programs.test.ts',
  'packages/server/src/llm/faults.test.ts',
];
const long = [
  'packages/server/src/apps/demo/demo.test.ts',
  'test/chaos/{artifacts,billing,boundaries,clocks,code,files,killed-calls,known-faults,lost-answers,outage,paid,questions,random,takeover,told-to-end,told-to-end-tools,waits,without-a-bus}.test.ts',
  'packages/server/src/apps/simulation/seed-threads.test.ts',
  'packages/server/src/cli/sim.test.ts',
  'packages/server/src/llm/faults.test.ts',
  'packages/server/src/tools/sandbox/{jail,suspension,typescript}.test.ts',
  'packages/server/src/tools/sources/mcp/programs.test.ts',
  'test/conformance/{blobs,bus,mcp-client,mcp-server,storage,storage-outages}.test.ts',
  'test/e2e/{agent-core,broken-store,clocks,fuzz,known-faults-durable,mcp-oauth-nodes,mcp-programs,mcp-stdio,metrics,newcomer,nodes,outages,queues,streams,tool-worker-nodes,tool-workers}.test.ts',
  'test/sim/{isolation,isolation-seeds,seeds}.test.ts',
];
const hostile = ['test/hostile/**/*.test.ts', 'packages/server/src/**/hostile.test.ts'];
const test = { pool: 'threads', isolate: false, testTimeout: 20_000 } as const;

export default defineConfig({
  test: {
    passWithNoTests: false,
    projects: [
      {
        ...shared,
        test: {
          ...test,
          name: 'units',
          include: ['packages/*/src/**/*.test.ts'],
          exclude: [...heavy, ...long, ...hostile],
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...shared,
        test: {
          ...test,
          name: 'system',
          include: heavy,
          exclude: [...long, ...hostile],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      { ...shared, test: { ...test, name: 'long', include: long, fileParallelism: false, sequence: { groupOrder: 2 } } },
      {
        ...shared,
        test: {
          ...test,
          name: 'hostile',
          include: hostile,
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
