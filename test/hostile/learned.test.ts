import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startVictim, type Victim } from './support/victim.ts';

const sse = (...events: readonly unknown[]) => `${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')}data: [DONE]\n\n`;
const answer = sse(
  { choices: [{ index: 0, delta: { content: 'fine' } }] },
  { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], usage: { prompt_tokens: 20, completion_tokens: 2 } },
);
const problem = (message: string) => JSON.stringify({ error: { message, type: 'invalid_request_error' } });
const maxBodyBytes = 100_000;
const goodImage = 'https://pictures.test/good.png';
const badImage = 'https://pictures.test/bad.tiff';

/** A server that takes images, but none in a format that it does not know, behind a proxy that takes 100 KB. */
async function startProvider() {
  const taken: string[] = [];
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      const text = Buffer.concat(pieces).toString('utf8');
      if (request.method !== 'POST') return void response.writeHead(404).end('{}');
      if (text.length > maxBodyBytes)
        return void response.writeHead(413, { 'content-type': 'text/html' }).end('413 Request Entity Too Large');
      if (text.includes(badImage)) return void response.writeHead(400).end(problem('Image format is not supported'));
      taken.push(text);
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(answer);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    taken,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

describe('what a provider says to one tenant', () => {
  let provider: Awaited<ReturnType<typeof startProvider>>;
  let victim: Victim;
  let hostile: Readonly<Record<string, string>>;
  let modest: Readonly<Record<string, string>>;

  beforeAll(async () => {
    provider = await startProvider();
    const compatible = [{ name: 'local', baseUrl: provider.url, models: ['m', 'n'], price: 'free' }];
    victim = await startVictim({ config: { providers: { compatible }, policy: { tenants: { allow: ['*', 'model:*'] } } } });
    const headersOf = async (tenant: string) => ({ authorization: `Bearer ${await victim.key(['runs', 'admin'], tenant)}` });
    [hostile, modest] = [await headersOf('hostile'), await headersOf('modest')];
    for (const headers of [hostile, modest])
      for (const model of ['m', 'n']) {
        const words =
          headers === hostile ? { instructions: 'Hi.', maxOutputTokens: 16 } : { instructions: 'Mind what you were told. '.repeat(1_500) };
        const agent = { name: `with-${model}`, models: [`local/${model}`], tools: [], ...words };
        const put = await victim.call('POST', '/v1/agents', agent, headers);
        expect(put.status, put.text).toBeLessThan(300);
      }
  }, 120_000);
  afterAll(async () => {
    await victim.close();
    provider.close();
  });

  const say = async (headers: Readonly<Record<string, string>>, agent: string, input: unknown, sessionId?: string) => {
    const run = await victim.start({ agent, input, ...(sessionId === undefined ? {} : { sessionId }) }, headers);
    return victim.end(run, headers);
  };
  const image = (url: string) => [
    { type: 'text', text: 'What is this?' },
    { type: 'image', mediaType: 'image/png', data: { url } },
  ];

  it('of the size of its request makes the model no smaller for others [verifies hostile.shares.learned]', async () => {
    const large = Buffer.alloc(90_000, 7).toString('base64');
    const sent = await say(hostile, 'with-m', [
      { type: 'text', text: 'x' },
      { type: 'image', mediaType: 'image/png', data: { base64: large } },
    ]);
    expect(sent.status).toBe('failed');
    const { status, error } = await say(modest, 'with-m', 'Hello');
    expect({ status, error }).toEqual({ status: 'completed', error: undefined });
  });

  it('of what it sent takes nothing from what others send [verifies hostile.shares.learned]', async () => {
    const session = async (headers: Readonly<Record<string, string>>) =>
      (await victim.call('POST', '/v1/sessions', { agent: 'with-n' }, headers)).body.id;
    const own = await session(hostile);
    await say(hostile, 'with-n', image(badImage), own);
    await say(hostile, 'with-n', 'And now?', own);
    const theirs = await session(modest);
    await say(modest, 'with-n', image(goodImage), theirs);
    await say(modest, 'with-n', 'And now?', theirs);
    const { messages } = JSON.parse(provider.taken.at(-1) ?? '{}');
    expect(JSON.stringify(messages.slice(1))).toContain(goodImage);
  });
});
