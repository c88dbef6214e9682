import { appendFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { EffectsClass } from '@nexus-agent/protocol';
import { resolveConfig } from '../../../packages/server/src/apps/config/index.ts';
import { startAgentCore } from '../../../packages/server/src/apps/index.ts';
import { systemTimers } from '../../../packages/server/src/core/index.ts';
import type { Tool } from '../../../packages/server/src/tools/index.ts';

/** An agent core whose tools write down each of their calls, and wait for a file of the name of their `barrier`, if they are given one. */
const { folder, flags } = JSON.parse(process.argv[2] ?? '{}');

const probe = (name: string, effects: EffectsClass): Tool => ({
  name,
  description: 'Writes down that it was called.',
  inputSchema: { type: 'object', properties: { name: { type: 'string' }, barrier: { type: 'string' } }, required: ['name'] },
  effects,
  permissions: [],
  timeoutMs: 60_000,
  async execute(input, { idempotencyKey, signal, onOutput }) {
    const { name: of, barrier } = input as { readonly name: string; readonly barrier?: string }; // by the schema
    appendFileSync(join(folder, 'calls'), `${JSON.stringify({ name, of, idempotencyKey })}\n`);
    while (barrier !== undefined && !existsSync(join(folder, barrier))) {
      onOutput(`${of} waits `);
      await systemTimers.sleep(50, signal);
    }
    return { type: 'ok', output: `${name} ${of}` };
  },
});

const core = await startAgentCore({
  config: resolveConfig({ env: {}, flags }),
  version: '0.0.0-test',
  tools: [probe('look', 'none'), probe('put', 'idempotent'), probe('pay', 'once')],
});
process.stdout.write(`${core.port} ${core.watchUrl}\n`);
process.stdin.resume();
process.stdin.once('end', () => void core.close().then(() => process.exit(0)));
