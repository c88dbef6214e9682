import type { RunId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { toJournalEvent } from '#runs/journal';
import { completed, openTestRuns, principal, type TestRuns } from '#runs/testing';
import type { ResumedCall, Tool, ToolContext } from '#tools';
import { makeTool } from '#tools/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const form = { server: 'table', tool: 'asker', question: 'How many?', fields: [{ name: 'guests', type: 'integer', required: true }] };

/** A tool that asks in the midst of its call, as those of MCP servers do. */
function asker(
  name: string,
  input: unknown,
  heard: (ResumedCall['results'] | ToolContext['calling'])[],
  asks = ['ask_human', 'agent_other'],
): Tool {
  return makeTool({
    name: 'asker',
    asks,
    async execute(_input, { resume, calling, callId }) {
      heard.push(resume === undefined ? calling : resume.results);
      if (resume !== undefined) return { type: 'ok', output: 'went on' };
      const calls = [{ id: 1, name, input: JSON.stringify(input) }];
      return { type: 'suspended', state: { sha256: callId, bytes: 1 }, calls, fuelUsed: 0, printed: '' };
    },
  });
}

const echo = makeTool({ name: 'echo', execute: async () => ({ type: 'ok', output: 'echoed' }) });

async function open(tool: Tool, allow = ['*']) {
  let asked = 0;
  const opened = await openTestRuns({
    tools: [tool, echo],
    agents: [{ name: 'caller', tools: ['*'], policy: { allow } }],
    async *attempt() {
      asked += 1;
      yield asked === 1 ? completed({ name: 'asker' }) : completed('done');
    },
  });
  runs = opened;
  const settled = (runId: RunId) => opened.until(async () => ['completed', 'failed', 'waiting'].includes((await opened.row(runId)).status));
  const journal = async (runId: RunId) =>
    (await opened.engine.store.readEvents(principal.tenantId, runId, { after: 0, limit: 1_000 })).map(toJournalEvent);
  return { ...opened, settled, journal };
}

it('has a person asked by a tool that says so, though its agent is not offered to ask [verifies tools.mcp.elicitation]', async () => {
  const heard: unknown[] = [];
  const { start, settled, row, engine } = await open(asker('ask_human', form, heard as never[]));
  const runId = await start({ agent: 'caller' });
  await settled(runId);
  const [approvalId = ''] = (await row(runId)).waiting?.approvals ?? [];
  expect(await engine.store.getApproval(principal.tenantId, approvalId)).toMatchObject({
    kind: 'question',
    toolName: 'ask_human',
    question: 'The MCP server table asks, in a call of asker: How many?',
    input: form,
  });
  expect(heard).toEqual([{ offered: ['ask_human'], waitMs: expect.any(Number) }]);
});

it('calls no agent for it that the calling one has not as a sub-agent [verifies tools.mcp.sampling]', async () => {
  const heard: ResumedCall['results'][] = [];
  const { start, settled, journal } = await open(asker('agent_other', { task: 'x' }, heard as never[]));
  const runId = await start({ agent: 'caller' });
  await settled(runId);
  const ended = (await journal(runId)).flatMap((event) => (event.type === 'tool.completed' ? [[event.data.name, event.data.output]] : []));
  expect(ended).toEqual([
    ['agent_other', expect.stringMatching(/tool_not_found.*the tools are: ask_human/)],
    ['asker', 'went on'],
  ]);
});

it('fails the call of a tool that wants what it does not say that it asks', async () => {
  const { start, settled, journal } = await open(asker('echo', {}, [], ['ask_human']));
  const runId = await start({ agent: 'caller' });
  await settled(runId);
  const events = await journal(runId);
  expect(events.map(({ type }) => type)).not.toContain('tool.suspended');
});

it('tells it that policy does not let anybody be asked', async () => {
  const heard: ResumedCall['results'][] = [];
  const { start, settled } = await open(asker('ask_human', form, heard as never[]), ['asker']);
  const runId = await start({ agent: 'caller' });
  await settled(runId);
  expect(heard.at(-1)).toEqual([{ id: 1, isError: true, output: expect.stringMatching(/policy_denied/) }]);
});
