import { type JournalEvent, noUsage, type RunId } from '@nexus-agent/protocol';
import { afterEach, expect, it } from 'vitest';
import { estimateInputTokens, type ModelPart } from '#llm';
import { loadState } from '#runs/journal';
import { completed, openTestRuns, principal, type TestRuns, type TestRunsOptions } from '#runs/testing';
import { makeTool } from '#tools/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());
async function open(options: TestRunsOptions): Promise<TestRuns> {
  runs = await openTestRuns(options);
  return runs;
}

type Request = Parameters<NonNullable<TestRunsOptions['attempt']>>[0];

const tooLong = (contextTokens?: number): ModelPart => ({
  type: 'failed',
  error: { code: 'context_overflow', message: 'too long', retryable: false },
  retryAfterMs: null,
  usage: noUsage,
  sent: true,
  ...(contextTokens === undefined ? {} : { contextTokens }),
});
const isSummary = ({ request }: Request) => request.system.startsWith('You compress');
const charsOf = ({ request }: Request) => JSON.stringify(request.messages).length;
const ended = async (opened: TestRuns, runId: RunId) => {
  await opened.until(async () => ['completed', 'failed'].includes((await opened.row(runId)).status));
  return opened.row(runId);
};
async function events<T extends JournalEvent['type']>(opened: TestRuns, runId: RunId, type: T) {
  const { events: lines } = await opened.orchestrator.runs.events(principal, runId, { after: 0, limit: 1_000 });
  return lines
    .map((line) => JSON.parse(line) as JournalEvent)
    .filter((event): event is Extract<JournalEvent, { type: T }> => event.type === type);
}

const page = makeTool({ name: 'page', execute: async () => ({ type: 'ok', output: 'line of a page, '.repeat(300) }) });
const agent = { name: 'reader', tools: ['page'], maxOutputTokens: 500 };

/** A model that reads page after page, and takes only so many characters. */
function reader(pages: number, takesChars: number, contextTokens: number) {
  const asked: Request[] = [];
  let read = 0;
  const attempt: NonNullable<TestRunsOptions['attempt']> = async function* (message) {
    asked.push(message);
    if (charsOf(message) > takesChars) yield tooLong(contextTokens);
    else if (isSummary(message)) yield completed('pages were read');
    else yield ++read > pages ? completed('all read') : completed({ name: 'page', input: { at: read } });
  };
  return { asked, attempt };
}

it('is made again under another key, with less text, when the model takes less; the journal keeps what was learned', async () => {
  const { asked, attempt } = reader(5, 9_000, 4_000);
  const opened = await open({ attempt, tools: [page], agents: [agent] });
  const runId = await opened.start({ agent: 'reader' });
  expect(await ended(opened, runId)).toMatchObject({ status: 'completed', output: 'all read' });
  expect(await events(opened, runId, 'context.learned')).toMatchObject([
    { data: { provider: 'p', model: 'm', contextTokens: 4_000, reason: 'refused' } },
  ]);
  expect((await loadState(opened.engine.store, principal.tenantId, runId)).contexts).toEqual({ 'p/m': 4_000 });
  expect(asked.filter((message) => charsOf(message) > 9_000)).toHaveLength(1);
  const keys = asked.map(({ request }) => request.idempotencyKey);
  expect(new Set(keys).size).toBe(keys.length);
  expect((await opened.orchestrator.runs.replay(principal, runId)).matches).toBe(true);
});

it('is made by a worker that takes the run over as by the one that learned it [verifies provider.context.learned]', async () => {
  const { asked, attempt } = reader(6, 9_000, 4_000);
  const guarded = makeTool({ name: 'guarded', execute: async () => ({ type: 'ok', output: 'done' }) });
  let stopped = false;
  const opened = await open({
    tools: [page, guarded],
    agents: [{ ...agent, tools: ['page', 'guarded'], policy: { allow: ['page'], approve: ['guarded'] } }],
    async *attempt(message, options) {
      const overflowed = asked.some((before) => charsOf(before) > 9_000);
      if (overflowed && !stopped && !isSummary(message)) {
        stopped = true;
        yield completed({ name: 'guarded' });
      } else yield* attempt(message, options);
    },
  });
  const runId = await opened.start({ agent: 'reader' });
  await opened.until(async () => (await opened.row(runId)).status === 'waiting');
  const { waiting } = await opened.row(runId);
  // Whoever goes on has only the journal: its context is made anew, with models that say nothing of what was learned.
  await opened.engine.store.answerApproval(principal.tenantId, waiting?.approvals?.[0] ?? '', {
    decision: 'approve',
    answer: {},
    decidedBy: 'ada',
    at: opened.engine.clock.now(),
  });
  opened.orchestrator.wake({ tenantId: principal.tenantId, runId });
  expect(await ended(opened, runId)).toMatchObject({ status: 'completed', output: 'all read' });
  expect(asked.filter((message) => charsOf(message) > 9_000)).toHaveLength(1);
});

it('is given up after six refusals in a row, each at its own reservation and none charged', async () => {
  let contextTokens = 90_000;
  const opened = await open({
    async *attempt(message) {
      contextTokens = Math.floor(contextTokens * 0.9);
      yield isSummary(message) ? completed('gist') : tooLong(contextTokens);
    },
  });
  const runId = await opened.start({});
  expect(await ended(opened, runId)).toMatchObject({ status: 'failed', error: { code: 'context_overflow' }, totals: { costMicroUsd: 0 } });
  expect(await events(opened, runId, 'model.failed')).toHaveLength(7);
  expect(await events(opened, runId, 'budget.reserved')).toHaveLength(7);
  expect((await events(opened, runId, 'budget.settled')).every(({ data }) => (data.amounts.tokens ?? 0) === 0)).toBe(true);
});

it('is not made again after text that people have seen', async () => {
  let asked = 0;
  const opened = await open({
    async *attempt() {
      asked += 1;
      yield { type: 'text.delta', text: 'As I was saying' };
      yield tooLong(2_000);
    },
  });
  const runId = await opened.start({});
  expect(await ended(opened, runId)).toMatchObject({ status: 'failed', error: { code: 'context_overflow' } });
  expect(asked).toBe(1);
});

it('fits the model that is asked first, and one to fall back to only when it is needed', async () => {
  const asked: string[] = [];
  let isDown = false;
  const opened = await open({
    fallbacks: [3_000],
    tools: [page],
    agents: [agent],
    async *attempt(message) {
      asked.push(`${message.target.model}${isSummary(message) ? ' summary' : ''}`);
      const { length } = asked;
      if (isDown && message.target.model === 'm') {
        yield {
          type: 'failed',
          error: { code: 'provider_rejected', message: 'down', retryable: false },
          retryAfterMs: null,
          usage: noUsage,
          sent: true,
        };
      } else if (isSummary(message)) yield completed('pages were read');
      else if (message.target.model === 'm2') yield completed('from the small one');
      else {
        isDown = length === 5;
        yield completed({ name: 'page', input: { at: length } });
      }
    },
  });
  const runId = await opened.start({ agent: 'reader' });
  expect(await ended(opened, runId)).toMatchObject({ status: 'completed', output: 'from the small one' });
  // Not once was anything summarised for the small one before it was needed, nor was it sent what it cannot take.
  expect(asked.slice(0, 6)).toEqual(['m', 'm', 'm', 'm', 'm', 'm']);
  expect(asked.slice(6).filter((name) => name.startsWith('m2'))).toContain('m2 summary');
  expect(await events(opened, runId, 'context.learned')).toMatchObject([{ data: { model: 'm2', contextTokens: 3_000, reason: 'known' } }]);
});

it('is made shorter with each refusal, also where the server says the same size each time', async () => {
  const { asked, attempt } = reader(4, 4_000, 4_000);
  const opened = await open({ attempt, tools: [page], agents: [agent] });
  const runId = await opened.start({ agent: 'reader' });
  expect(await ended(opened, runId)).toMatchObject({ status: 'completed', output: 'all read' });
  const learned = (await loadState(opened.engine.store, principal.tenantId, runId)).contexts?.['p/m'];
  expect(learned).toBeLessThan(4_000);
  expect(asked.filter((message) => charsOf(message) > 4_000).length).toBeGreaterThan(1);
});

it('stays within the model when its summaries are far longer than they were asked to be', async () => {
  const sizes: number[] = [];
  let read = 0;
  const opened = await open({
    contextTokens: 4_000,
    tools: [page],
    agents: [agent],
    async *attempt(message) {
      sizes.push(estimateInputTokens(message.request));
      if (isSummary(message)) yield completed('fact after fact '.repeat(3_000));
      else yield ++read > 6 ? completed('all read') : completed({ name: 'page', input: { at: read } });
    },
  });
  const runId = await opened.start({ agent: 'reader' });
  expect(await ended(opened, runId)).toMatchObject({ status: 'completed', output: 'all read' });
  expect(Math.max(...sizes)).toBeLessThanOrEqual(4_000);
});
