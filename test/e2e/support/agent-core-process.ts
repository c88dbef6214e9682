import { appendFileSync } from 'node:fs';
import type { EffectsClass } from '@nexus-agent/protocol';
import { resolveConfig } from '../../../packages/server/src/apps/config/index.ts';
import { startAgentCore } from '../../../packages/server/src/apps/index.ts';
import type { Tool } from '../../../packages/server/src/tools/index.ts';

/** An agent core with tools that hold their first attempts for ever. Its flags come as JSON; it says its port and where its metrics are, and ends when its input closes. */
const { calls, flags } = JSON.parse(process.argv[2] ?? '{}');

const holding = (name: string, effects: EffectsClass): Tool => ({
  name,
  description: 'Holds its first attempt until its process dies.',
  inputSchema: { type: 'object' },
  effects,
  permissions: [],
  timeoutMs: 60_000,
  async execute(_input, { attempt, signal }) {
    appendFileSync(calls, `${name} ${attempt}\n`);
    if (attempt > 1) return { type: 'ok', output: `${name} done` };
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    appendFileSync(calls, `${name} stopped\n`);
    throw signal.reason;
  },
});

const core = await startAgentCore({
  config: resolveConfig({ env: {}, flags }),
  version: '0.0.0-test',
  tools: [holding('pay', 'once'), holding('look', 'none')],
});
process.stdout.write(`${core.port} ${core.watchUrl}\n`);
process.stdin.resume();
process.stdin.once('end', () => void core.close().then(() => process.exit(0)));
