import type { Message } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { completed, faultsOf, openTestRuns, type TestRuns, type TestRunsOptions } from '#runs/testing';
import { makeTool } from '#tools/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const outputSchema = { type: 'object', properties: { total: { type: 'number' } }, required: ['total'], additionalProperties: false };
type Answer = Parameters<typeof completed>[number];

/** A run whose model gives these answers, one for each time it is asked; the last one for ever. */
async function answering(answers: readonly Answer[], options: TestRunsOptions = {}) {
  const asked: (readonly Message[])[] = [];
  const opened = await openTestRuns({
    agents: [
      { name: 'typed', outputSchema },
      { name: 'brief', outputSchema, maxSteps: 2 },
    ],
    tools: [makeTool({ name: 'work' })],
    async *attempt({ request }) {
      asked.push(request.messages);
      yield completed(answers[Math.min(asked.length, answers.length) - 1] ?? '');
    },
    ...options,
  });
  runs = opened;
  return {
    asked,
    async run(agent: string) {
      const runId = await opened.start({ agent });
      await opened.until(async () => ['completed', 'failed'].includes((await opened.row(runId)).status));
      const replay = await opened.orchestrator.runs.replay(
        { tenantId: (await opened.row(runId)).tenantId, id: 'ada', scopes: [], roles: [] },
        runId,
      );
      expect(replay.matches).toBe(true);
      for (const messages of asked) expect(faultsOf(messages)).toEqual([]);
      return { row: await opened.row(runId), types: await opened.types(runId) };
    },
  };
}

describe('an answer without a word', () => {
  it.each(['', ' \n'])('ends a run that has done its work: %j', async (silence) => {
    const { asked, run } = await answering([{ name: 'work' }, silence]);
    expect((await run('helper')).row).toMatchObject({ status: 'completed', output: silence, error: null });
    expect(asked).toHaveLength(2);
  });

  it('is asked for again where nothing was done, until there is one', async () => {
    const { asked, run } = await answering(['', '', 'at last']);
    expect((await run('helper')).row).toMatchObject({ status: 'completed', output: 'at last' });
    expect(asked).toHaveLength(3);
  });

  it.each([' \n', '\u200b\ufeff', '\u0000'])('is one that nobody sees, too: %j', async (silence) => {
    const { asked, run } = await answering([silence, 'at last']);
    expect((await run('helper')).row).toMatchObject({ status: 'completed', output: 'at last' });
    expect(asked).toHaveLength(2);
  });

  it('ends no run, whatever was done, that was cut before there was one', async () => {
    const cut = { ...completed(), finishReason: 'length' } as const;
    let asked = 0;
    const { run } = await answering([], {
      async *attempt() {
        asked += 1;
        yield asked === 1 ? completed({ name: 'work' }) : asked === 2 ? cut : completed('at last');
      },
    });
    expect((await run('helper')).row).toMatchObject({ status: 'completed', output: 'at last' });
  });

  it('says what it was spent on where the model only thought, and how it gets more', async () => {
    const cut = { ...completed(), finishReason: 'length' } as const;
    const { run } = await answering([], {
      async *attempt() {
        yield { ...cut, content: [{ type: 'reasoning', text: 'hm' }] } as typeof cut;
      },
    });
    expect((await run('helper')).row.error).toMatchObject({ message: expect.stringMatching(/all of the \d+ tokens.*maxOutputTokens/) });
  });

  it('fails the run once it was asked for again as often as the settings say', async () => {
    const { asked, run } = await answering([''], { settings: { maxRepairs: 1 } });
    expect((await run('helper')).row).toMatchObject({ status: 'failed', resumable: true, error: { code: 'provider_malformed' } });
    expect(asked).toHaveLength(2);
  });
});

describe('an answer that does not fit the output schema', () => {
  it('is asked for again, and the model is told what is wrong', async () => {
    const { asked, run } = await answering(['seven', '{"total":"7"}', '{"total":7}']);
    const { row, types } = await run('typed');
    expect(row).toMatchObject({ status: 'completed', output: '{"total":7}', step: 3 });
    expect(types.filter((type) => type === 'answer.refused')).toHaveLength(2);
    expect(JSON.stringify(asked[1]?.at(-1))).toContain('not JSON');
    expect(JSON.stringify(asked[2]?.at(-1))).toContain('total: expected number');
  });

  it.each([
    ['as often as the settings say', 'typed', {}, 3],
    ['never, where the settings say so', 'typed', { maxRepairs: 0 }, 1],
    ['within the steps of the agent', 'brief', {}, 2],
  ])('is asked for again %s, and then fails the run', async (_, agent, settings, calls) => {
    const { asked, run } = await answering(['seven'], { settings });
    expect((await run(agent)).row).toMatchObject({ status: 'failed', resumable: true, error: { code: 'output_invalid' } });
    expect(asked).toHaveLength(calls);
  });

  const fence = '```';
  it.each([
    ['in a fence', `${fence}json\n{"total":7}\n${fence}`],
    ['in a fence within prose', `Here it is:\n\n${fence}\n{"total":7}\n${fence}\nI hope that it helps.`],
    ['after thinking aloud', '<think>\nseven {"total":8}\n</think>\n\n{"total":7}'],
    ['after a mark of its encoding', '\ufeff{"total":7}\n'],
  ])('is none that only has something around it: %s', async (_where, text) => {
    const { asked, run } = await answering([text]);
    expect((await run('typed')).row).toMatchObject({ status: 'completed', output: '{"total":7}' });
    expect(asked).toHaveLength(1);
  });

  it.each([
    ['of several', `${fence}\n{"total":7}\n${fence}\nor\n${fence}\n{"total":8}\n${fence}`],
    ['of another shape', `${fence}\n{"sum":7}\n${fence}`],
  ])('is not made to fit by what is in a fence: %s', async (_what, text) => {
    const { run } = await answering([text, '{"total":9}']);
    expect((await run('typed')).row).toMatchObject({ output: '{"total":9}', step: 2 });
  });

  it('may not be silence, whatever was done', async () => {
    const { run } = await answering([{ name: 'work' }, '', '{"total":7}']);
    expect((await run('typed')).row).toMatchObject({ status: 'completed', output: '{"total":7}' });
  });
});
