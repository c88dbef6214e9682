/** The whole platform for the benchmarks: all controls on, models from the mock upstream, one trivial tool. Prints its address; ends on SIGTERM. */

import { resolveConfig } from '../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../packages/server/src/apps/index.ts';

const [upstream = '', dataDir = '', databaseUrl = ''] = process.argv.slice(2);
const app = await startAllInOne({
  version: 'bench',
  config: resolveConfig({
    env: {},
    flags: {
      dataDir,
      port: 0,
      auth: { local: 'open' },
      log: { level: 'warn' },
      ...(databaseUrl === '' ? {} : { databaseUrl }),
      sim: { enabled: 'off' },
      providers: { compatible: [{ name: 'mock', baseUrl: `${upstream}/v1`, models: ['mock'] }] },
      prices: { 'mock/mock': { inputMicroUsdPerMillion: 250_000, outputMicroUsdPerMillion: 2_000_000 } },
    },
  }),
  tools: [
    {
      name: 'lookup',
      description: 'Looks a key up',
      inputSchema: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'], additionalProperties: false },
      effects: 'none',
      permissions: [],
      timeoutMs: 10_000,
      execute: async ({ key }) => ({ type: 'ok', output: `value of ${String(key)}` }),
    },
  ],
});
process.stdout.write(`${app.url}\n`);
process.on('SIGUSR2', () => {
  const { rss, heapUsed } = process.memoryUsage();
  process.stdout.write(`${JSON.stringify({ rss, heapUsed, liveRuns: app.orchestrator.liveRuns })}\n`);
});
process.once('SIGTERM', () => void app.close().then(() => process.exit(0)));
