import { AgentDefinition, type McpServerInspection } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { createKeptLog } from '#apps/testing';
import { NexusError, systemTimers } from '#core';
import { type FollowedAgentServers, followAgentServers } from './agent-servers.ts';

const agent = (name: string, ...servers: readonly string[]) =>
  AgentDefinition.parse({ name, mcpServers: Object.fromEntries(servers.map((each) => [each, { url: `https://${each}.example/mcp` }])) });

type Ensure = (server: string, signal: AbortSignal) => Promise<Partial<McpServerInspection>>;

let followed: FollowedAgentServers | undefined;
afterEach(() => followed?.close());

function follow(ensure: Ensure, more: { onlyLooks?: boolean; pausesMs?: number[] } = {}) {
  const { logger, lines } = createKeptLog();
  const asked: string[] = [];
  followed = followAgentServers({
    ...{ timers: systemTimers, logger, onlyLooks: false, pausesMs: [5, 10], ...more },
    mcp: {
      async ensure(tenantId, [server], _agent, signal) {
        const { name = '' } = server ?? {};
        asked.push(`${tenantId}/${name}`);
        return [(await ensure(name, signal)) as McpServerInspection]; // what is looked at of it
      },
    },
  });
  const told = () => lines.map(({ message }) => message);
  return { followed, asked, told };
}
const live = { live: {} as never, tools: [] };
const away = { live: null, fault: 'it is away' };

it('adds what agents declare for the operator, and tries again what cannot be reached, within bounds [verifies tools.mcp.declared.files]', async () => {
  const { followed, asked, told } = follow(async (name) => (name === 'gone' ? away : live));
  followed.follow([agent('a', 'notes', 'gone'), agent('b')]);
  await followed.settled();
  expect(asked.toSorted()).toEqual(['default/gone', 'default/gone', 'default/gone', 'default/notes']);
  expect(told().filter((line) => /tried again$/.test(line))).toHaveLength(2);
  expect(told()).toContainEqual(
    expect.stringMatching(/could not be reached; no tools of it until a person approves them: nexus mcp approve gone/),
  );
});

it('goes on with the others where one is refused, and does not try that again [verifies tools.mcp.declared.files]', async () => {
  const { followed, asked, told } = follow(async (name) => {
    if (name === 'taken') throw new NexusError('conflict', 'there is another');
    return live;
  });
  followed.follow([agent('a', 'taken', 'notes')]);
  await followed.settled();
  expect(asked).toEqual(['default/taken', 'default/notes']);
  expect(told()).toContainEqual(expect.stringMatching(/cannot be added/));
});

it('gives up what an earlier state of the files asked for [verifies tools.mcp.declared.files]', async () => {
  const { followed, asked } = follow(
    (name, signal) =>
      name === 'slow' ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))) : Promise.resolve(live),
    {},
  );
  followed.follow([agent('a', 'slow')]);
  await expect.poll(() => asked).toEqual(['default/slow']);
  followed.follow([agent('a', 'notes')]);
  await followed.settled();
  expect(asked).toEqual(['default/slow', 'default/notes']);
});

it('waits no longer than it takes to give up when the server ends [verifies tools.mcp.declared.files]', async () => {
  const { followed } = follow(async () => away, { pausesMs: [600_000] });
  followed.follow([agent('a', 'gone')]);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const before = performance.now();
  await followed.close();
  expect(performance.now() - before).toBeLessThan(1_000);
});

it('adds nothing where the process only looks [verifies tools.mcp.declared.files]', async () => {
  const { followed, asked } = follow(async () => live, { onlyLooks: true });
  followed.follow([agent('a', 'notes')]);
  await followed.settled();
  expect(asked).toEqual([]);
});
