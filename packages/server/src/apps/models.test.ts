import { afterEach, describe, expect, it } from 'vitest';
import { type ConfigInput, resolveConfig } from '#apps/config';
import { systemClock } from '#core';
import { call, makeRequest, startServer } from '#llm/testing';
import { setUpModels } from './models.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

/** One call of a model whose server takes the time to answer. */
async function callSlow(answerMs: number, own: object, llm: NonNullable<ConfigInput['llm']> = {}) {
  const server = await startServer((_request, response) => {
    setTimeout(() => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end('data: {"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    }, answerMs);
  });
  const compatible = [{ name: 'local', baseUrl: `${server.url}/v1`, models: ['m'], ...own }];
  const flags: ConfigInput = { providers: { compatible }, llm: { maxAttempts: 1, ...llm } };
  const models = await setUpModels(resolveConfig({ env: {}, flags }), systemClock);
  open.push(server, models);
  return (await call(models.llm, makeRequest('x'), { models: ['local/m'] })).last;
}

describe('the patience with a provider', () => {
  it('is that of the call when nothing is configured', async () => {
    expect(resolveConfig({ env: {} }).llm.firstByteTimeoutMs).toBeUndefined();
    expect(await callSlow(300, {})).toMatchObject({ type: 'completed' });
  });

  it('is that of all providers, unless it has its own', async () => {
    const gaveUp = { type: 'failed', error: { code: 'provider_timeout', details: { limit: 'first_byte' } } };
    expect(await callSlow(500, {}, { firstByteTimeoutMs: 50 })).toMatchObject(gaveUp);
    expect(await callSlow(500, { firstByteTimeoutMs: 50 })).toMatchObject(gaveUp);
    expect(await callSlow(200, { firstByteTimeoutMs: 5_000 }, { firstByteTimeoutMs: 50 })).toMatchObject({ type: 'completed' });
  });
});
