import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { startServer, strictAnthropic, strictOpenAi } from '../../packages/server/src/llm/testing/index.ts';
import toolNames from '../cases/10-tool-names.json' with { type: 'json' };
import { all, startTestServer, type TestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

/** Answers, or the status of a failure, of the next requests; then answers in words. */
let answers: (string | number)[] = [];
let requests: { readonly path: string; readonly body: string }[] = [];
const probe = createProbe();
let models: Awaited<ReturnType<typeof startServer>>;
let server: TestServer;

const caseFile = (name: string) => readFileSync(new URL(`../cases/${name}`, import.meta.url), 'utf8');
const words = {
  '/v1/chat/completions': 'data: {"choices":[{"delta":{"content":"done"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
  '/v1/messages': caseFile('09-blank-answer.anthropic.sse').replace('"text":"\\n\\n"', '"text":"done"'),
};

beforeAll(async () => {
  models = await startServer((request, response) => {
    const path = request.url ?? '';
    if (request.method !== 'POST') return void response.end('{"data":[]}');
    requests.push({ path, body: request.body });
    const faults = path === '/v1/messages' ? strictAnthropic(request.body) : strictOpenAi(request.body);
    const answer = answers.shift() ?? words[path as keyof typeof words];
    const status = faults.length > 0 ? 400 : typeof answer === 'number' ? answer : 200;
    if (status !== 200) response.writeHead(status).end(JSON.stringify({ error: { message: faults.join('; ') || 'down' } }));
    else response.writeHead(200, { 'content-type': 'text/event-stream' }).end(answer);
  });
  server = await startTestServer({ tools: probe.tools, modelUrl: () => models.url });
  await server.agent('openai', { models: ['sim/m'] });
  await server.agent('anthropic', { models: ['sim-anthropic/m'] });
  await server.agent('both', { models: ['sim/m', 'sim-anthropic/m'] });
});
beforeEach(() => {
  answers = [];
  requests = [];
});
afterEach(() => server.verifyRuns());
afterAll(async () => {
  await server.close();
  await models.close();
});

it('goes on with a conversation after an answer that is blank', async () => {
  const session = await server.session({ agent: 'anthropic' });
  answers = [caseFile('09-blank-answer.anthropic.sse')];
  await server.finish({ agent: 'anthropic', sessionId: session, input: 'first' });
  const { run } = await server.finish({ agent: 'anthropic', sessionId: session, input: 'second' });
  expect(run).toMatchObject({ status: 'completed', output: 'done' });
});

it.each(toolNames.names.flatMap((name) => [[name, 'openai'] as const, [name, 'anthropic'] as const]))(
  'lets a model that made up the tool %j correct itself: %s',
  async (name, wire) => {
    answers = [caseFile(`10-tool-name.${wire}.sse`).replace('"browser.tabs.open"', JSON.stringify(name))];
    const { run, events } = await server.finish({ agent: wire, input: 'go' });
    expect(run).toMatchObject({ status: 'completed', output: 'done' });
    expect(all(events, 'tool.completed')).toMatchObject([{ data: { status: 'error', error: { code: 'tool_not_found' } } }]);
  },
);

it('goes on with calls that have one id', async () => {
  answers = [caseFile('11-same-id-twice.anthropic.sse').replaceAll('fs_list', 'probe')];
  const { run } = await server.finish({ agent: 'anthropic', input: 'go' });
  expect(run).toMatchObject({ status: 'completed', output: 'done' });
});

it('goes on with another provider after calls under ids of the first', async () => {
  answers = [caseFile('11-foreign-id.openai.sse').replace('fs_list', 'probe'), 503, 503, 503];
  const { run, events } = await server.finish({ agent: 'both', input: 'go' });
  expect(run).toMatchObject({ status: 'completed', output: 'done' });
  expect(all(events, 'route.fallback')).toMatchObject([{ data: { to: { provider: 'sim-anthropic' } } }]);
});

it('keeps what a provider thought in the journal, and gives it back to that provider alone', async () => {
  answers = [caseFile('12-reasoning.openai.sse').replace('fs_list', 'probe')];
  const session = await server.session({ agent: 'openai' });
  await server.finish({ agent: 'openai', sessionId: session, input: 'go' });
  const answerOf = (body: string) => JSON.parse(body).messages.find(({ role }: { role: string }) => role === 'assistant');
  expect(answerOf(requests[1]?.body ?? '')).toMatchObject({ reasoning_content: 'I should list.' });
});
