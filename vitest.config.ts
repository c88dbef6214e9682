import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['nexus-source'] },
  ssr: { resolve: { conditions: ['nexus-source'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts'],
    pool: 'threads',
    isolate: false,
    testTimeout: 20_000,
    passWithNoTests: false,
  },
});
