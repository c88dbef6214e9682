import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { runCli } from './cli.testkit.ts';
import type { Apps } from './io.ts';

it('serves the tools alone where it is told to, and drains', async () => {
  const home = await mkdtemp(join(tmpdir(), 'nexus-role-'));
  let closed = 0;
  const startAgentCore: Apps['startAgentCore'] = async ({ config }) => {
    expect(config.grpc.port).toBe(9_001);
    return {
      ...{ address: '127.0.0.1:9001', watchUrl: 'http://127.0.0.1:9002' },
      close: async () => {
        closed += 1;
      },
    };
  };
  const { code, out } = await runCli(['serve', '--role', 'agent-core'], {
    ...{ interruptAt: /ready/, apps: { startAgentCore } },
    env: { NEXUS_DATA_DIR: home, NEXUS_GRPC_PORT: '9001' },
  });
  expect({ code, out, closed }).toEqual({ code: 0, out: 'The agent core of Nexus Agent is ready at 127.0.0.1:9001\n', closed: 1 });
  expect((await runCli(['serve', '--role', 'agents'])).code).toBe(2);
  await rm(home, { recursive: true, force: true });
});
