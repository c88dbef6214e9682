import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { verifies } from '../support/verifies.ts';
import { type RogueModel, startRogueModel } from './support/rogue.ts';
import { pause, startTestServer, type TestServer } from './support/server.ts';

let rogue: RogueModel;
let server: TestServer;
beforeAll(async () => {
  rogue = await startRogueModel();
  server = await startTestServer({ modelUrl: () => rogue.url });
  await server.agent('openai', { models: ['sim/sim-large'] });
  await server.agent('anthropic', { models: ['sim-anthropic/sim-large'] });
});
beforeEach(() => {
  rogue.requests.length = 0;
});
afterEach(() => server.verifyRuns());
afterAll(async () => {
  await server.close();
  await rogue.close();
});

const read = (name: string) => readFileSync(new URL(`../cases/${name}`, import.meta.url), 'utf8');
const recorded = (name: string): RogueModel['answers'][number] => {
  const body = read(name);
  return (response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).end(body);
};
const silence: RogueModel['answers'][number] = () => undefined;
const lastRequest = () => JSON.stringify(rogue.requests.at(-1).messages);

describe.each(['openai', 'anthropic'])('on the wire of %s', (wire) => {
  const wrote = recorded(`18-write-then-nothing-1.${wire}.sse`);
  const nothing = recorded(`18-write-then-nothing-2.${wire}.sse`);

  it('a run that did its work and ends without a word is completed, and the next one knows of the work', async () => {
    const sessionId = await server.session({ agent: wire });
    rogue.answers = [wrote, nothing];
    const { run } = await server.finish({ sessionId, input: 'write the note' });
    expect(run).toMatchObject({ status: 'completed', output: '' });
    await server.finish({ sessionId, input: 'what did you do?' });
    expect(lastRequest()).toContain('notes.md');
    expect(lastRequest()).toContain('write the note');
    // What only calls may have no content on this wire.
    for (const { content, tool_calls } of rogue.requests.at(-1).messages)
      expect(tool_calls === undefined && (content === null || content.length === 0)).toBe(false);
  });

  it(`what was done in a cancelled run is told, and that it was cancelled ${verifies('session.log.cancelled')}`, async () => {
    const { steps } = JSON.parse(read('19-cancelled-work.json'));
    const sessionId = await server.session({ agent: wire });
    rogue.answers = [wrote, silence];
    const runId = await server.start({ sessionId, input: steps[0].input });
    for (let waits = 0; rogue.requests.length < 2 && waits < 400; waits++) await pause(10);
    await server.call('POST', `/v1/runs/${runId}/cancel`);
    await server.until(runId, 'cancelled');
    rogue.requests.length = 0;
    rogue.answers = [nothing];
    await server.finish({ sessionId, input: steps[2].input });
    const shown = JSON.stringify(rogue.requests[0].messages);
    for (const text of [...steps[2].expectInRequest.slice(0, 2), 'This turn was cancelled']) expect(shown).toContain(text);
  });
});

describe('two requests at once in one session', () => {
  const { steps } = JSON.parse(read('20-two-at-once.json'));
  const [{ atOnce, modelTakesMs }, recall] = steps;
  const late: RogueModel['answers'][number] = (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const chunk = (delta: object, finish: string | null) =>
      response.write(`data: ${JSON.stringify({ id: 'r', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`);
    chunk({ role: 'assistant' }, null);
    setTimeout(() => {
      chunk({ content: 'I will remember it.' }, 'stop');
      response.end('data: [DONE]\n\n');
    }, modelTakesMs / 4);
  };

  it.each(['queue', 'parallel', undefined])('are both told to the one after them: %s', async (whileBusy) => {
    const sessionId = await server.session({ agent: 'openai' });
    rogue.answers = [late];
    const both = await Promise.all(
      atOnce.map(({ input }: { input: string }) => server.start({ sessionId, input, ...(whileBusy === undefined ? {} : { whileBusy }) })),
    );
    for (const runId of both) await server.until(runId, 'completed');
    await server.finish({ sessionId, input: recall.input });
    expect(
      lastRequest()
        .match(/ALPHA|BRAVO/g)
        ?.sort(),
    ).toEqual(['ALPHA', 'BRAVO']);
    expect(lastRequest().match(/I will remember it/g)).toHaveLength(2);
  });

  it('are told apart where the second does not want to wait', async () => {
    const sessionId = await server.session({ agent: 'openai' });
    rogue.answers = [late];
    const [first, second] = await Promise.all(
      atOnce.map(({ input }: { input: string }) => server.call('POST', '/v1/runs', { sessionId, input, whileBusy: 'reject' })),
    );
    const answers = [first, second].sort((one, other) => one.status - other.status);
    expect(answers.map(({ status }) => status)).toEqual([202, 409]);
    expect(answers[1].body).toMatchObject({ code: 'session_busy', details: { runId: answers[0].body.id } });
    await server.until(answers[0].body.id, 'completed');
  });
});
