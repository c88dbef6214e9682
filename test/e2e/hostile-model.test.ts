import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { chat, type RogueModel, startRogueModel } from './support/rogue.ts';
import { all, one, startTestServer, type TestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let rogue: RogueModel;
let server: TestServer;
beforeAll(async () => {
  rogue = await startRogueModel();
  server = await startTestServer({ tools: probe.tools, modelUrl: () => rogue.url, config: { log: { level: 'error' } } });
});
beforeEach(async () => {
  rogue.requests.length = 0;
  probe.calls.length = 0;
  await server.agent('victim');
});
afterEach(() => server.verifyRuns());
afterAll(async () => {
  await server.close();
  await rogue.close();
});

const usage = { prompt_tokens: 10, completion_tokens: 5 };
const done = chat({ text: 'done', usage });
const deep = (levels: number) => `{"label":${'['.repeat(levels)}${']'.repeat(levels)}}`;

async function answer(...answers: RogueModel['answers']) {
  rogue.answers = answers;
  return server.finish({ agent: 'victim', input: 'go' });
}

describe('a model whose calls are', () => {
  it.each([100, 2000, 6000, 12_000, 50_000, 400_000])('nested %i levels deep', async (levels) => {
    const { run } = await answer(chat({ calls: [{ name: 'probe', arguments: deep(levels) }], usage }), done);
    console.log(levels, run.status, run.error, rogue.requests.length);
    expect(run.status).toBe('completed');
  });
  it.each([['nul', 'pro\u0000be'], ['lone', 'pro\ud800be'], ['proto', '__proto__'], ['empty', ''], ['long', 'x'.repeat(100_000)]])('name %s', async (_n, name) => {
    const { run } = await answer(chat({ calls: [{ name, arguments: '{}' }], usage }), done);
    console.log(run.status, run.error, rogue.requests.length);
    expect(run.status).toBe('completed');
  });
  it.each([['nul', 'a\u0000b'], ['lone', 'a\ud800b']])('text %s', async (_n, text) => {
    const { run } = await answer(chat({ text, usage }));
    console.log(run.status, run.error, JSON.stringify(run.output));
    expect(run.status).toBe('completed');
  });
  it.each([
    ['huge', { prompt_tokens: 1e300, completion_tokens: 5 }],
    ['large', { prompt_tokens: 1e15, completion_tokens: 1e15 }],
    ['negative', { prompt_tokens: -5, completion_tokens: -5 }],
    ['text', { prompt_tokens: '10', completion_tokens: [] }],
    ['fraction', { prompt_tokens: 1.5, completion_tokens: 2.5 }],
  ])('usage %s', async (_n, used) => {
    const { run } = await answer(chat({ text: 'hi', usage: used }));
    console.log(run.status, run.error, run.totals);
    expect(run.status).toBe('completed');
  });
  it('500 calls', async () => {
    const calls = Array.from({ length: 500 }, (_, i) => ({ name: 'probe', arguments: `{"label":"${i}"}` }));
    const t = Date.now();
    const { run, events } = await answer(chat({ calls, usage }), done);
    console.log(run.status, run.error, Date.now() - t, all(events, 'tool.completed').length, probe.mostRunning);
    expect(run.status).toBe('completed');
  });
  it('same id twice', async () => {
    const calls = [0, 1].map((i) => ({ id: 'same', name: 'probe', arguments: `{"label":"${i}"}` }));
    const { run, events } = await answer(chat({ calls, usage }), done);
    console.log(run.status, run.error, all(events, 'tool.completed').map((e) => e.data.output), JSON.stringify(rogue.requests.at(-1).messages));
    expect(run.status).toBe('completed');
  });
  it('10 MB of arguments', async () => {
    const t = Date.now();
    const { run } = await answer(chat({ calls: [{ name: 'probe', arguments: JSON.stringify({ label: 'x'.repeat(10_000_000) }) }], usage }), done);
    console.log(run.status, run.error, Date.now() - t);
  });
  it('empty', async () => {
    const { run } = await answer(chat({ usage }));
    console.log(run.status, run.error, JSON.stringify(run.output));
  });
});
