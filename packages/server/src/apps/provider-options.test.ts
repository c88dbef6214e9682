import { afterEach, expect, it } from 'vitest';
import { resolveConfig } from '#apps/config';
import { parseConfigFile, systemClock } from '#core';
import { call, makeRequest, startServer } from '#llm/testing';
import { silentLogger } from '#telemetry/testing';
import { setUpModels } from './models.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

const answers = {
  chat: 'data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
  messages:
    'data: {"type":"message_start"}\n\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\ndata: {"type":"message_stop"}\n\n',
};

/** What is sent to `model` when the configuration is this; `URL` in it stands for the server's. */
async function sent(model: string, text: string) {
  // biome-ignore lint/suspicious/noExplicitAny: the tests look at the members that they are about
  const requests: { url: string; headers: Record<string, unknown>; body: any }[] = [];
  const server = await startServer((request, response) => {
    if (request.method === 'GET') return void response.writeHead(404).end();
    requests.push({ url: request.url ?? '', headers: request.headers, body: JSON.parse(request.body) });
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(request.url?.includes('/messages') ? answers.messages : answers.chat);
  });
  const file = await parseConfigFile('nexus.config.yaml', text.replaceAll('URL', server.url));
  const models = await setUpModels(resolveConfig({ file, env: {} }), systemClock, silentLogger);
  open.push(server, models);
  const outputSchema = { type: 'object', properties: { a: { type: 'string' } } };
  const tools = [{ name: 'f', description: 'f', inputSchema: { type: 'object' } }];
  await call(models.llm, makeRequest('go', { temperature: 0.5, outputSchema, tools }), { models: [model] });
  const [request] = requests;
  if (request === undefined) throw new Error('nothing was sent');
  return request;
}

it('sends a compatible server what its configuration says', async () => {
  const config = `providers: { compatible: [{ name: a, baseUrl: "URL/v1?api-version=1", apiKey: k, headers: { X-Team: t, Authorization: own },
    maxTokensField: max_completion_tokens, extraBody: { top_k: 20 }, omit: [streamOptions], models: [large, { id: small, omit: [responseFormatWithTools, temperature] }] }] }`;
  const large = await sent('a/large', config);
  expect(large.url).toBe('/v1/chat/completions?api-version=1');
  expect(large.headers).toMatchObject({ 'x-team': 't', authorization: 'own' });
  expect(large.body).toMatchObject({ max_completion_tokens: expect.any(Number), top_k: 20, temperature: 0.5, response_format: {} });
  expect(Object.keys(large.body)).not.toEqual(expect.arrayContaining(['max_tokens']));
  expect(large.body).not.toHaveProperty('stream_options');
  const small = await sent('a/small', config);
  for (const member of ['response_format', 'temperature', 'stream_options']) expect(small.body).not.toHaveProperty(member);
});

it('sends OpenAI what its configuration says', async () => {
  const { body, headers } = await sent(
    'openai/gpt-5',
    'providers: { openai: { apiKey: k, baseUrl: "URL/v1", headers: { x-a: b }, maxTokensField: max_tokens, extraBody: { user: u }, omit: [temperature] } }',
  );
  expect(body).toMatchObject({ max_tokens: expect.any(Number), user: 'u' });
  expect(body).not.toHaveProperty('temperature');
  expect(headers).toMatchObject({ 'x-a': 'b' });
});

it.each([
  ['adaptive', { type: 'adaptive' }],
  ['{ budgetTokens: 1024 }', undefined], // more than the answer may have
])('sends Anthropic what its configuration says: thinking %s', async (thinking, expected) => {
  const { body, headers, url } = await sent(
    'anthropic/claude-x',
    `providers: { anthropic: { apiKey: k, baseUrl: "URL/proxy?q=1", headers: { x-a: b }, promptCaching: false, thinking: ${thinking}, omit: [responseFormat] } }`,
  );
  expect(url).toBe('/proxy/v1/messages?q=1');
  expect(headers).toMatchObject({ 'x-a': 'b', 'x-api-key': 'k' });
  expect(body.thinking).toEqual(expected);
  expect(body).not.toHaveProperty('output_config');
  expect(JSON.stringify(body)).not.toContain('cache_control');
  expect(body.system[0].text).toContain('JSON Schema');
});
