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
  'packages/server/src/tools/sources/mcp/{plugin-programs,program-ends,programs}.test.ts',
  'packages/server/src/llm/faults.test.ts',
];
const long = [
  'packages/server/src/apps/demo/demo.test.ts',
  'packages/server/src/apps/simulation/seed-threads.test.ts',
  'packages/server/src/cli/sim.test.ts',
  'packages/server/src/llm/faults.test.ts',
  'packages/server/src/tools/sandbox/{gvisor,jail,suspension,typescript}.test.ts',
  'packages/server/src/tools/sources/builtin/files/pdf-text.test.ts',
  'packages/server/src/tools/sources/mcp/{plugin-programs,program-ends,programs}.test.ts',
  'test/chaos/{artifacts,asking,billing,boundaries,clocks,code,files,killed-calls,known-faults,lost-answers,outage,paid,questions,random,takeover,told-to-end-tools,told-to-end,waits,without-a-bus,worker-calls}.test.ts',
  'test/conformance/{blobs,bus,docs-types,mcp-client,mcp-server,storage-outages,storage}.test.ts',
  'test/e2e/{agent-core,agent-core-clients,agent-core-code,agent-core-watch,agent-core-workers,broken-store,clocks,fuzz,known-faults-durable,mcp-oauth-killed,mcp-oauth-nodes,mcp-programs,mcp-stdio,metrics,newcomer,nodes,outages,plugin-programs,queues,streams,tool-worker-faults,tool-worker-nodes,tool-workers}.test.ts',
  'test/sim/{isolation-seeds,isolation,seeds}.test.ts',
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
