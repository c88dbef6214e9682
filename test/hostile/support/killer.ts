/**
 * A server with tools that kill its process, each in its own way, and one that only takes its time. Its argument is the path of its
 * configuration.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { resolveConfig } from '../../../packages/server/src/apps/config/index.ts';
import { startAllInOne } from '../../../packages/server/src/apps/index.ts';
import type { Tool } from '../../../packages/server/src/tools/index.ts';

/** Never comes back: what kills is under way meanwhile. */
const never = () => new Promise<never>(() => undefined);

const ways: Readonly<Record<string, () => Promise<never>>> = {
  kill_exit: () => process.exit(9),
  kill_abort: () => process.abort(),
  kill_signal() {
    process.kill(process.pid, 'SIGKILL');
    return never();
  },
  kill_timer() {
    setTimeout(() => {
      throw new Error('thrown in a timer of a tool');
    }, 10);
    return never();
  },
  kill_promise() {
    void Promise.reject(new Error('rejected by a tool: password=hunter2hunter2'));
    return never();
  },
};

function tool(name: string, execute: Tool['execute']): Tool {
  return {
    name,
    description: 'For the test.',
    inputSchema: { type: 'object', properties: {}, additionalProperties: false },
    effects: 'idempotent',
    permissions: ['probe'],
    timeoutMs: 60_000,
    execute,
  };
}

const flags = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
const { NEXUS_DATABASE_URL: databaseUrl } = process.env;
const app = await startAllInOne({
  config: resolveConfig({ env: {}, flags: { ...flags, ...(databaseUrl === undefined ? {} : { databaseUrl, bus: 'postgres' }) } }),
  version: '0.0.0',
  ownsProcess: true,
  tools: [
    ...Object.entries(ways).map(([name, kill]) => tool(name, kill)),
    tool('slow', async (_, { signal }) => {
      await sleep(150, undefined, { signal });
      return { type: 'ok', output: 'rested' };
    }),
  ],
});
process.on('SIGTERM', () => void app.close().finally(() => process.exit(0)));
process.stdout.write(`ready at ${app.url}\n`);
