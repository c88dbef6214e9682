import { type Message, noUsage, type RunId, type SessionId, type WhileBusy } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { conversation, createTranscripts, fold, loadState, type Summary, toJournalEvent } from '#runs/journal';
import { completed, faultsOf, openTestRuns, principal, rejected, type TestRuns, type TestRunsOptions } from '#runs/testing';
import { makeTool } from '#tools/testing';

const { tenantId } = principal;
let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const kinds = ['say', 'work', 'two', 'fail', 'filtered', 'hang', 'slow', 'guarded', 'ask', 'silent'] as const;
type Kind = (typeof kinds)[number];

const ended = ['completed', 'failed', 'cancelled'];

const namesIn = (text: string) => [...new Set(text.match(/#\d+(-\d)?/g))].join(' ');

/** A session whose model does what the text of each request says, and whose writes are counted. */
async function openTalk(options: TestRunsOptions = {}, padding = '', summarise = namesIn) {
  const written: string[] = [];
  const seen = new Map<string, readonly Message[]>();
  let isMended = false;
  let begun = 0;
  const write = async (input: Record<string, unknown>) => {
    written.push(String(input.mark));
    return { type: 'ok' as const, output: `wrote ${String(input.mark)}` };
  };
  const opened = await openTestRuns({
    agents: [{ name: 'writer', policy: { allow: ['*'], approve: ['guarded'] }, maxSteps: 10 }],
    tools: [
      makeTool({ name: 'write', effects: 'once', execute: write }),
      makeTool({ name: 'guarded', effects: 'once', execute: write }),
      makeTool({
        name: 'slow',
        effects: 'once',
        async execute(input) {
          written.push(String(input.mark));
          return new Promise(() => undefined);
        },
      }),
      makeTool({ name: 'ask', kind: 'question' }),
    ],
    async *attempt({ request: { messages, tools } }, { signal }) {
      if (tools.length === 0) {
        // Asked for a summary, the model keeps what was done and who asked.
        yield completed(summarise(textOf(messages[0])));
        return;
      }
      const at = messages.findLastIndex(({ role }) => role === 'user');
      const text = textOf(messages[at]);
      const [name = '', kind = ''] = text.slice(text.lastIndexOf('#')).split(' ');
      if (!seen.has(name)) seen.set(name, messages);
      const mark = (n: number) => ({ mark: `${name}-${n}` });
      if (at === messages.length - 1) {
        if (kind === 'say') yield completed(`said ${name}${padding}`);
        else if (kind === 'slow') yield completed({ name: 'write', input: mark(1) }, { name: 'slow', input: mark(2) });
        else if (kind === 'guarded') yield completed({ name: 'write', input: mark(1) }, { name: 'guarded', input: mark(2) });
        else if (kind === 'ask') yield completed({ name: 'write', input: mark(1) }, { name: 'ask', input: { question: '?' } });
        else if (kind === 'two') yield completed({ name: 'write', input: mark(1) }, { name: 'write', input: mark(2) });
        else yield completed('first I write', { name: 'write', input: mark(1) });
      } else if (kind === 'fail' && !isMended) yield rejected('provider_rejected', 'the server is ill');
      else if (kind === 'filtered') yield rejected('content_filtered', 'withheld');
      else if (kind === 'silent') yield completed('');
      else if (kind === 'hang') await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
      else yield completed(`did ${name}`);
    },
    ...options,
  });
  runs = opened;
  const { session } = await opened.orchestrator.sessions.create(principal, { agent: 'writer' }, {});
  const sessionId = session.id as SessionId; // as the engine numbered it
  const started: { readonly runId: RunId; readonly kind: Kind; readonly name: string }[] = [];

  /** Whether the run works on what never ends. */
  async function isStuck(runId: RunId, kind: Kind): Promise<boolean> {
    const { status, cancelRequested } = await opened.row(runId);
    if (status !== 'running' || cancelRequested !== null || (kind !== 'hang' && kind !== 'slow')) return false;
    const { step, calls } = await loadState(opened.engine.store, tenantId, runId);
    return kind === 'hang' ? step === 2 : calls.filter(({ phase }) => phase.type === 'completed').length === 1;
  }

  async function settled(runId: RunId, kind: Kind): Promise<void> {
    await opened.until(async () => {
      const { status, waiting } = await opened.row(runId);
      return ended.includes(status) || waiting !== null || isStuck(runId, kind);
    });
  }

  /** Nothing moves any more by itself. */
  async function quiet(): Promise<void> {
    await opened.until(async () => {
      const rows = await Promise.all(
        started.map(async ({ runId, kind }) => ({ status: (await opened.row(runId)).status, own: await isStuck(runId, kind) })),
      );
      const isHeld = rows.some(({ own }) => own);
      return rows.every(({ status, own }) => own || ended.includes(status) || status === 'waiting' || (status === 'queued' && isHeld));
    });
  }

  return {
    ...opened,
    sessionId,
    written,
    seen,
    started,
    settled,
    quiet,
    mend(yes: boolean) {
      isMended = yes;
    },
    begin(kind: Kind, path: 'start' | 'enqueue' = 'start', whileBusy: WhileBusy = 'parallel') {
      const name = `#${++begun}`;
      const written = opened[path]({ sessionId, input: `${name} ${kind}`, whileBusy }).then((runId) => ({ runId, kind, name }));
      return written.then((run) => {
        started.push(run);
        return run;
      });
    },
    async ask(kind: Kind, whileBusy: WhileBusy = 'parallel') {
      const run = await this.begin(kind, 'start', whileBusy);
      await settled(run.runId, kind);
      return run;
    },
    async cancel(runId: RunId) {
      await opened.orchestrator.runs.cancel(principal, runId, 'no longer wanted');
      await opened.until(async () => ended.includes((await opened.row(runId)).status));
    },
    async answer(runId: RunId, decision: 'approve' | 'deny') {
      const { waiting } = await opened.row(runId);
      const [approvalId] = waiting?.approvals ?? [];
      if (approvalId === undefined) return;
      const approval = await opened.engine.store.getApproval(tenantId, approvalId);
      const isQuestion = approval?.kind === 'question' && decision === 'approve';
      await opened.engine.store.answerApproval(tenantId, approvalId, {
        decision: isQuestion ? 'answer' : decision,
        answer: isQuestion ? { result: 'blue' } : {},
        decidedBy: 'ada',
        at: opened.engine.clock.now(),
      });
      opened.orchestrator.wake({ tenantId, runId });
      await opened.until(async () => ended.includes((await opened.row(runId)).status));
    },
  };
}

type Talk = Awaited<ReturnType<typeof openTalk>>;

function textOf(message: Message | undefined): string {
  return (message?.content ?? [])
    .map((part) => (part.type === 'text' ? part.text : part.type === 'tool_result' ? part.output : ''))
    .join('\n');
}

const lines = (messages: readonly Message[] = []) => messages.map((message) => `${message.role}: ${textOf(message)}`);

function marksOf(messages: readonly Message[]): string[] {
  return messages.flatMap((message) =>
    message.role !== 'assistant'
      ? []
      : message.content.flatMap((part) =>
          part.type === 'tool_call' && 'mark' in (part.input as object) ? [(part.input as { mark: string }).mark] : [],
        ),
  );
}

/** The names of the requests in the order in which people see them, oldest first. */
async function namesShown({ orchestrator, sessionId }: Talk): Promise<string[]> {
  const { data } = await orchestrator.sessions.messages(principal, sessionId, { limit: 100 });
  const byRun = new Map<string, string>();
  for (const { runId, message } of data) if (message.role === 'user') byRun.set(runId, textOf(message).split(' ')[0] ?? '');
  return [...byRun.values()].reverse();
}

describe('what a run is shown of its session', () => {
  it('has what was done in a run that was cancelled, and that it was [verifies session.log.cancelled]', async () => {
    const talk = await openTalk();
    const { runId } = await talk.ask('hang');
    await talk.cancel(runId);
    const { name } = await talk.ask('say');
    const shown = talk.seen.get(name) ?? [];
    expect(faultsOf(shown)).toEqual([]);
    expect(lines(shown)).toEqual([
      'user: #1 hang',
      'assistant: first I write\n',
      'tool: wrote #1-1',
      expect.stringMatching(/^assistant: .*cancelled.*no longer wanted/),
      'user: #2 say',
    ]);
  });

  it('says of a call that was cut off that nobody knows, and of one that never began that it did not', async () => {
    const talk = await openTalk();
    const { runId } = await talk.ask('slow');
    const waiting = await talk.ask('guarded');
    await talk.cancel(runId);
    await talk.cancel(waiting.runId);
    const { name } = await talk.ask('say');
    const shown = talk.seen.get(name) ?? [];
    expect(faultsOf(shown)).toEqual([]);
    const results = shown.flatMap((message) => (message.role === 'tool' ? message.content : []));
    expect(results.map(({ output, isError }) => [output, isError])).toEqual([
      ['wrote #1-1', false],
      [expect.stringMatching(/not known|outcome/i), true],
      ['wrote #2-1', false],
      [expect.stringMatching(/^Not run/), true],
    ]);
  });

  it('has the work of a run that failed, and the reason', async () => {
    const talk = await openTalk();
    await talk.ask('fail');
    const { name } = await talk.ask('say');
    expect(faultsOf(talk.seen.get(name) ?? [])).toEqual([]);
    expect(lines(talk.seen.get(name)).slice(2)).toEqual([
      'tool: wrote #1-1',
      expect.stringMatching(/failed.*the server is ill/),
      'user: #2 say',
    ]);
  });

  it('leaves out what a provider refused to read, so that the session goes on, and keeps what was done', async () => {
    const refuse = (text: string) => ({
      type: 'failed' as const,
      error: { code: 'content_filtered' as const, message: text, retryable: false, details: { status: 400 } },
      retryAfterMs: null,
      usage: noUsage,
      sent: true,
    });
    const talk = await openTalk({
      async *attempt({ request: { messages } }) {
        const all = lines(messages).join('\n');
        if (all.includes('wrote bomb') || all.includes('#1 say')) yield refuse('it triggers a policy');
        else if (messages.at(-1)?.role === 'tool' || !all.endsWith('work')) yield completed(lines(messages).join(' | '));
        else yield completed({ name: 'write', input: { mark: 'bomb' } });
      },
    });
    const [first, second] = [await talk.ask('say'), await talk.ask('work')];
    expect((await talk.row(first.runId)).status).toBe('failed');
    expect((await talk.row(second.runId)).status).toBe('failed');
    const last = await talk.ask('guarded');
    const { output } = await talk.row(last.runId);
    expect(output).toMatch(
      /user: \(What was asked here is left out.*user: #2 work \| assistant: {1,2}\| tool: \(The call was made\..*#3 guarded/,
    );
    // People go on seeing it.
    const shown = await talk.orchestrator.sessions.messages(principal, talk.sessionId, { limit: 100 });
    expect(JSON.stringify(shown)).toContain('wrote bomb');
  });

  it('has both of two runs that began at once', async () => {
    const talk = await openTalk();
    const both = await Promise.all([talk.begin('work'), talk.begin('work')]);
    for (const { runId, kind } of both) await talk.settled(runId, kind);
    const { name } = await talk.ask('say');
    const shown = talk.seen.get(name) ?? [];
    expect(faultsOf(shown)).toEqual([]);
    expect(marksOf(shown).sort()).toEqual(['#1-1', '#2-1'].sort());
  });

  it('tells what is pending, and later what became of it, in its old place', async () => {
    const talk = await openTalk();
    const { runId } = await talk.ask('guarded');
    const second = await talk.ask('say');
    expect(lines(talk.seen.get(second.name))).toEqual([
      'user: #1 guarded',
      expect.stringContaining('assistant: '),
      expect.stringMatching(/wrote #1-1\n.*waiting for a person/),
      expect.stringMatching(/not finished: it waits for a person/),
      'user: #2 say',
    ]);
    await talk.answer(runId, 'approve');
    const third = await talk.ask('say');
    expect(lines(talk.seen.get(third.name)).slice(2)).toEqual([
      'tool: wrote #1-1\nwrote #1-2',
      'assistant: did #1',
      'user: #2 say',
      'assistant: said #2',
      'user: #3 say',
    ]);
    const fourth = await talk.ask('say');
    expect(lines(talk.seen.get(fourth.name))).toEqual([...lines(talk.seen.get(third.name)), 'assistant: said #3', 'user: #4 say']);
  });

  it('tells what became of a run that a summary had told as pending', async () => {
    const small = { contextTokens: 3_000, settings: { summaryTokens: 100 } };
    const talk = await openTalk(small, ` ${'word '.repeat(120)}`);
    const { runId } = await talk.ask('guarded');
    let latest = await talk.ask('say');
    // Right after a summary there is room for what comes next.
    while ((await loadState(talk.engine.store, tenantId, latest.runId)).summary === null) latest = await talk.ask('say');
    const before = talk.seen.get(latest.name) ?? [];
    expect(lines(before)[0]).toContain('Summary of the conversation');
    expect(marksOf(before)).toEqual([]);
    await talk.answer(runId, 'approve');
    const { name } = await talk.ask('say');
    const shown = talk.seen.get(name) ?? [];
    expect(faultsOf(shown)).toEqual([]);
    expect(marksOf(shown)).toEqual(['#1-1', '#1-2']);
    expect(lines(shown).indexOf('tool: wrote #1-1\nwrote #1-2')).toBe(2);
  });

  it('reads the log when it begins, not when it is put into the queue', async () => {
    const talk = await openTalk();
    const first = await talk.begin('work');
    const second = await talk.begin('say', 'enqueue');
    await talk.settled(first.runId, 'work');
    await talk.settled(second.runId, 'say');
    expect((await talk.ask('say')).name).toBe('#3');
    expect(marksOf(talk.seen.get('#3') ?? [])).toEqual(['#1-1']);
  });

  it('is in its order where the clocks of processes differ', async () => {
    const talk = await openTalk();
    await talk.ask('say');
    const { clock } = talk.time;
    const { now } = clock;
    Object.assign(clock, { now: () => now() - 60_000 });
    const { runId } = await talk.begin('say');
    Object.assign(clock, { now });
    await talk.settled(runId, 'say');
    await talk.ask('say');
    expect(await namesShown(talk)).toEqual(['#1', '#2', '#3']);
    expect(lines(talk.seen.get('#2'))).toEqual(['user: #1 say', 'assistant: said #1', 'user: #2 say']);
  });

  it('tells the work of a fork’s original once', async () => {
    const talk = await openTalk();
    const { runId } = await talk.ask('work');
    const { run } = await talk.orchestrator.runs.fork(principal, runId, {}, {});
    await talk.until(async () => ended.includes((await talk.row(run.id as RunId)).status));
    const { name } = await talk.ask('say');
    const shown = talk.seen.get(name) ?? [];
    expect(faultsOf(shown)).toEqual([]);
    expect(marksOf(shown)).toEqual(['#1-1']);
    expect(lines(shown).filter((line) => line === 'assistant: did #1')).toHaveLength(2);
  });
});

it('tells what became of a run that failed and was resumed [verifies session.log.exact]', async () => {
  const talk = await openTalk();
  const { runId } = await talk.ask('fail');
  await talk.ask('say');
  talk.mend(true);
  await talk.orchestrator.runs.resume(principal, runId);
  await talk.until(async () => (await talk.row(runId)).status === 'completed');
  const { name } = await talk.ask('say');
  expect(lines(talk.seen.get(name)).slice(2)).toEqual([
    'tool: wrote #1-1',
    'assistant: did #1',
    'user: #2 say',
    'assistant: said #2',
    'user: #3 say',
  ]);
});

it('tells all that a fork did, also before it was resumed', async () => {
  const talk = await openTalk();
  const original = await talk.ask('fail');
  const { run } = await talk.orchestrator.runs.fork(principal, original.runId, { afterSeq: 1 }, {});
  const runId = run.id as RunId; // as the engine numbered it
  await talk.until(async () => (await talk.row(runId)).status === 'failed');
  talk.mend(true);
  await talk.orchestrator.runs.resume(principal, runId);
  await talk.until(async () => (await talk.row(runId)).status === 'completed');
  const { name } = await talk.ask('say');
  expect(marksOf(talk.seen.get(name) ?? [])).toEqual(['#1-1', '#1-1']);
  expect(talk.written).toEqual(['#1-1', '#1-1']);
});

describe('reading a long session', () => {
  /** The runs whose journals are read while the last of so many begins. */
  async function readsOfLast(count: number, options: TestRunsOptions, padding = '') {
    const read = new Set<string>();
    const talk = await openTalk(
      {
        ...options,
        wrap: (store) => ({
          readEvents(tenant, runId, range) {
            read.add(runId);
            return store.readEvents(tenant, runId, range);
          },
        }),
      },
      padding,
    );
    for (let index = 1; index < count; index++) await talk.ask('say');
    read.clear();
    await talk.begin('say');
    await talk.close();
    runs = undefined;
    return read.size;
  }

  it('reads the newest run only, where what came before is still known', async () => {
    expect(await readsOfLast(20, {})).toBe(1);
  });

  it('goes no further back than the last summary, where nothing is known', async () => {
    const small = { contextTokens: 3_000, settings: { transcriptChars: 1, summaryTokens: 100 } };
    expect(await readsOfLast(20, { settings: { transcriptChars: 1 } })).toBe(19);
    expect(await readsOfLast(40, small, ` ${'word '.repeat(120)}`)).toBeLessThan(12);
  });
});

const kind = fc.constantFrom(...kinds);
const way = fc.constantFrom<WhileBusy>('parallel', 'queue', 'interrupt');
const action = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('ask' as const), kind, way }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('both' as const), kind, other: kind, way }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('enqueue' as const), kind, way }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), pick: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('answer' as const), pick: fc.nat(20), approve: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('resume' as const), pick: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fork' as const), pick: fc.nat(20) }) },
);

type Action = typeof action extends fc.Arbitrary<infer A> ? A : never;

async function act(talk: Talk, step: Action): Promise<void> {
  const rows = await Promise.all(talk.started.map(async (run) => ({ ...run, row: await talk.row(run.runId) })));
  const picked = 'pick' in step ? rows[step.pick % Math.max(1, rows.length)] : undefined;
  switch (step.do) {
    case 'ask':
      await talk.ask(step.kind, step.way);
      break;
    case 'both':
      for (const { runId, kind } of await Promise.all([step.kind, step.other].map((kind) => talk.begin(kind, 'start', step.way))))
        await talk.settled(runId, kind);
      break;
    case 'enqueue': {
      const { runId, kind } = await talk.begin(step.kind, 'enqueue', step.way);
      await talk.settled(runId, kind);
      break;
    }
    case 'cancel':
      if (picked !== undefined && !ended.includes(picked.row.status)) await talk.cancel(picked.runId);
      break;
    case 'answer':
      if (picked?.row.status === 'waiting') await talk.answer(picked.runId, step.approve ? 'approve' : 'deny');
      break;
    case 'resume':
      if (picked?.row.status !== 'failed' || !picked.row.resumable) break;
      talk.mend(true);
      await talk.orchestrator.runs.resume(principal, picked.runId);
      await talk.until(async () => (await talk.row(picked.runId)).status !== 'queued');
      await talk.settled(picked.runId, 'say');
      talk.mend(false);
      break;
    case 'fork': {
      if (picked === undefined || !['completed', 'failed'].includes(picked.row.status) || picked.kind !== 'work') break;
      const { run } = await talk.orchestrator.runs.fork(principal, picked.runId, {}, {});
      await talk.until(async () => ended.includes((await talk.row(run.id as RunId)).status));
      break;
    }
  }
}

/** What stood for the oldest turns when the run asked for its first answer. */
async function summaryAtFirst(talk: Talk, runId: RunId): Promise<Summary | null> {
  const events = (await talk.engine.store.readEvents(tenantId, runId, { after: 0, limit: 1_000 })).map(toJournalEvent);
  const first = events.findIndex(({ type, data }) => type === 'model.started' && 'purpose' in data && data.purpose === 'answer');
  return fold(events.slice(0, Math.max(0, first))).summary;
}

/** Read anew from the journals alone, each run is shown what it was shown when it ran. */
async function expectSame(talk: Talk): Promise<void> {
  for (const { runId, name } of talk.started) {
    const state = await loadState(talk.engine.store, tenantId, runId);
    const reading = state.created?.reading ?? state.reading;
    const first = talk.seen.get(name);
    if (reading === undefined || first === undefined) continue;
    const place = { tenantId, sessionId: talk.sessionId, runId };
    const before = await createTranscripts(talk.engine.store, 1).before(place, reading);
    // A summary of its own may come before what it was shown first.
    const summary = await summaryAtFirst(talk, runId);
    const { messages } = conversation(before, { summary, messages: state.messages.slice(0, 1) });
    expect(messages).toEqual(first);
    expect((await talk.orchestrator.runs.replay(principal, runId)).matches).toBe(true);
  }
}

/** An old run goes on while a summary ends within a later one. */
const foundBefore: [Action[], number] = [
  [
    { do: 'ask', kind: 'fail', way: 'parallel' },
    { do: 'both', kind: 'fail', way: 'parallel', other: 'say' },
    { do: 'enqueue', kind: 'slow', way: 'parallel' },
    { do: 'ask', kind: 'work', way: 'parallel' },
    { do: 'resume', pick: 0 },
    { do: 'ask', kind: 'say', way: 'parallel' },
    { do: 'ask', kind: 'guarded', way: 'parallel' },
    { do: 'answer', pick: 0, approve: false },
    { do: 'cancel', pick: 0 },
  ],
  1,
];

describe('whatever became of the runs before', () => {
  it('each effect is told once, in the order that people see, in a form that a strict server takes [verifies session.log.exact]', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 9 }), fc.constantFrom(1, 64_000_000), async (steps, transcriptChars) => {
        const talk = await openTalk({ settings: { transcriptChars } });
        for (const step of steps) await act(talk, step);
        await talk.quiet();
        const probe = await talk.ask('say');
        const shown = talk.seen.get(probe.name) ?? [];
        expect(faultsOf(shown)).toEqual([]);
        const marks = marksOf(shown);
        expect(new Set(marks).size).toBe(marks.length);
        for (const mark of talk.written) expect(marks).toContain(mark);
        expect(talk.written.length).toBe(new Set(talk.written).size);
        const told = shown.flatMap((message) => (message.role === 'user' ? [textOf(message).split(' ')[0]] : []));
        expect(told).toEqual(await namesShown(talk));
        await expectSame(talk);
        await talk.close();
        runs = undefined;
      }),
      { numRuns: 25 },
    );
  }, 120_000);

  it.each([
    ['told word for word where there is room', 16_000, 0],
    ['counted where there is none', 4_000, 8],
  ])('each effect is %s, whatever a summary leaves out [verifies session.log.exact]', async (_how, contextTokens, leastCounted) => {
    const forgetful = () => 'They talked about this and that.';
    const talk = await openTalk({ contextTokens }, ` ${'word '.repeat(700)}`, forgetful);
    for (let round = 0; round < 8; round++) {
      await talk.ask('two');
      await talk.ask('say');
      await talk.ask('say');
    }
    const probe = await talk.ask('say');
    const shown = talk.seen.get(probe.name) ?? [];
    const [summary = ''] = lines(shown);
    expect(summary).toContain('They talked about this and that.');
    expect(summary.match(/They talked/g)).toHaveLength(1);
    const counted = Number(/write \((\d+)\)/.exec(summary)?.[1] ?? 0);
    const told = new Set([...marksOf(shown), ...[...summary.matchAll(/^- write \{"mark":"(.*?)"\}: wrote \1$/gm)].map(([, mark]) => mark)]);
    expect(counted).toBeGreaterThanOrEqual(leastCounted);
    expect(counted + told.size).toBe(talk.written.length);
    if (leastCounted === 0) expect(told).toEqual(new Set(talk.written));
    await expectSame(talk);
  });

  it('each effect is told or summed up, where the model takes little', async () => {
    let summaries = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(action, { minLength: 4, maxLength: 14 }),
        fc.constantFrom(1, 64_000_000),
        async (steps, transcriptChars) => {
          const talk = await openTalk(
            { contextTokens: 3_000, settings: { transcriptChars, summaryTokens: 100 } },
            ` ${'word '.repeat(120)}`,
          );
          for (const step of steps) await act(talk, step);
          await talk.quiet();
          const probe = await talk.ask('say');
          const shown = talk.seen.get(probe.name) ?? [];
          expect(faultsOf(shown)).toEqual([]);
          const marks = marksOf(shown);
          expect(new Set(marks).size).toBe(marks.length);
          const [first = ''] = lines(shown);
          const summed = first.includes('Summary of the conversation') ? first : '';
          if (summed !== '') summaries += 1;
          for (const mark of talk.written) expect(marks.includes(mark) || summed.includes(mark), mark).toBe(true);
          for (const name of await namesShown(talk))
            expect(
              lines(shown).some((line) => line.includes(name)),
              name,
            ).toBe(true);
          await expectSame(talk);
          await talk.close();
          runs = undefined;
        },
      ),
      { numRuns: 25, examples: [foundBefore] },
    );
    expect(summaries).toBeGreaterThan(3);
  }, 120_000);
});
