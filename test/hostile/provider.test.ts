import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createSocketServer, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Steady, startSteady } from './support/steady.ts';
import { databases, longestWaitMs, pause, startVictim, type Victim } from './support/victim.ts';

const mega = 'x'.repeat(1_000_000);
const many = <T>(count: number, make: (index: number) => T) => Array.from({ length: count }, (_, index) => make(index));
const sse = (...events: readonly unknown[]) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('');
const chat = (delta: unknown, more: object = {}) => ({ choices: [{ delta, ...more }] });
const toolCall = (index: number, name: string) => chat({ tool_calls: [{ index, id: `c${index}`, function: { name, arguments: '{}' } }] });
const head = (more = '', type = 'text/event-stream') => `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\nconnection: close\r\n${more}\r\n`;
const whole = (text: string, more = '', type?: string) => [Buffer.from(head(more, type)), Buffer.from(text)];
/** The grant of an answer here, and the chunk beyond it that the guide states. */
const grant = 1_000;
const chunk = 8_192;

/** What a provider answers, by the name of its model: pieces that are written once, and one that is written on and on. */
const answers: Readonly<Record<string, { readonly once: readonly Buffer[]; readonly more?: string }>> = {
  'choices-text': { once: whole(sse({ choices: mega })) },
  choices: { once: whole(sse({ choices: many(100_000, () => ({})) })) },
  calls: { once: whole(sse(...many(5_000, (index) => toolCall(index, 'f')))) },
  'calls-event': { once: whole(sse(chat({ tool_calls: many(50_000, (index) => ({ index, function: { name: 'f' } })) }))) },
  name: { once: whole(sse(toolCall(0, mega))) },
  usage: {
    once: whole(
      sse(chat({ content: 'hi' }, { finish_reason: 'stop' }), { choices: [], usage: { prompt_tokens: 9e7, completion_tokens: 300_477 } }),
    ),
  },
  lines: { once: whole(`${JSON.stringify(chat({}))}\n`.repeat(19_000), '', 'application/json') },
  'lines-tiny': { once: [Buffer.from(head())], more: 'data: x\n'.repeat(10_000) },
  'document-crumbs': {
    once: [Buffer.from(head('transfer-encoding: chunked\r\n', 'application/json')), Buffer.from('1\r\n{\r\n')],
    more: '1\r\n \r\n'.repeat(10_000),
  },
  'line-crumbs': {
    once: [Buffer.from(head('transfer-encoding: chunked\r\n')), Buffer.from('6\r\ndata: \r\n')],
    more: '1\r\nx\r\n'.repeat(10_000),
  },
  'lines-words': { once: whole(`${JSON.stringify(chat({ content: 'word ' }))}\n`.repeat(19_000), '', 'application/json') },
  'lines-short': { once: whole('{}\n'.repeat(600_000), '', 'application/json') },
  'lines-in-events': { once: whole(`data: ${'{}\ndata: '.repeat(999)}{}\n\n`.repeat(200)) },
  'list-documents': { once: whole(`[${'{"choices":[]},'.repeat(120_000)}{}]`, '', 'application/json') },
  members: { once: whole(`{${many(150_000, (index) => `"m${index}":0`)}}`, '', 'application/json') },
  'call-lines': { once: whole(`${many(9_000, (index) => JSON.stringify(toolCall(index, 'f'))).join('\n')}`, '', 'application/json') },
  deep: { once: whole(`data: ${'{"a":'.repeat(200_000)}\n\n`) },
  blanks: { once: whole(`{${' '.repeat(1_500_000)}`, '', 'application/json') },
  line: { once: [Buffer.from(head())], more: `data: ${mega}` },
  comments: { once: [Buffer.from(head())], more: ': ping\r\n\r\n'.repeat(5_000) },
  crumbs: { once: [Buffer.from(head('transfer-encoding: chunked\r\n'))], more: '1\r\n:\r\n'.repeat(5_000) },
  interim: { once: [], more: 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(3_000) },
  headers: { once: [Buffer.from('HTTP/1.1 200 OK\r\n')], more: 'a:b\r\n'.repeat(10_000) },
  marks: { once: [Buffer.from(`HTTP/1.1 400 No\r\nconnection: close\r\n\r\n${'<'.repeat(65_000)}`)] },
  bomb: { once: [Buffer.from(head('content-encoding: gzip\r\n')), gzipSync(Buffer.alloc(50_000_000, ' '))] },
};

async function startProvider() {
  const sockets = new Set<Socket>();
  const server = createSocketServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    let asked = '';
    socket.on('data', (bytes) => {
      asked += bytes.toString('latin1');
      const model = /"model":"([\w-]+)"/.exec(asked)?.[1];
      const answer = model === undefined ? undefined : answers[model];
      if (answer === undefined) return;
      socket.removeAllListeners('data');
      for (const piece of answer.once) socket.write(piece);
      const more = answer.more === undefined ? null : Buffer.from(answer.more);
      let left = more === null ? 0 : Math.ceil(60_000_000 / more.length);
      const write = () => {
        while (more !== null && left > 0 && !socket.destroyed) {
          left -= 1;
          if (!socket.write(more)) return;
        }
        socket.end();
      };
      socket.on('drain', write);
      write();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

async function startPages(): Promise<{ readonly port: number; readonly server: Server }> {
  const pages = ['<', '<b>a', '&amp;', '<script', '\n ', 'a '].map((piece) => piece.repeat(1_000_000 / piece.length));
  const server = createServer((request, response) => {
    const page = pages[Number(request.url?.slice(1))] ?? '';
    response.writeHead(200, { 'content-type': 'text/html' }).end(page);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, server };
}

/** A server of which each answer is headers of two characters, without end. */
async function startHeads() {
  const sockets = new Set<Socket>();
  const headers = 'a:b\r\n'.repeat(10_000);
  const server = createSocketServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 200 OK\r\n');
    let left = 20;
    const more = () => {
      while (left-- > 0) if (!socket.write(headers)) return;
      socket.end();
    };
    socket.on('drain', more);
    more();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe.each(await databases())('a server on %s', (database) => {
  let provider: Awaited<ReturnType<typeof startProvider>>;
  let pages: Awaited<ReturnType<typeof startPages>>;
  let heads: Awaited<ReturnType<typeof startHeads>>;
  let steady: Steady;
  let victim: Victim;
  beforeAll(async () => {
    [provider, pages, heads, steady] = await Promise.all([startProvider(), startPages(), startHeads(), startSteady()]);
    const compatible = [
      { name: 'bad', baseUrl: provider.url, models: Object.keys(answers), countsTokens: false },
      { name: 'steady', baseUrl: steady.url, models: ['words'], countsTokens: false },
    ];
    victim = await startVictim({
      database,
      config: {
        providers: { compatible },
        sim: { enabled: 'on' },
        llm: { maxAttempts: 1 },
        httpFetch: { allowPrivate: [`127.0.0.1:${pages.port}`, `127.0.0.1:${heads.port}`] },
      },
    });
  });
  afterAll(async () => {
    await victim?.close();
    provider?.close();
    pages?.server.close();
    heads?.close();
    await steady?.close();
  });

  it.each(Object.keys(answers))(
    'gives up what a provider sends as "%s", and nobody waits [verifies hostile.provider.answers] [verifies hostile.provider.charged]',
    async (model) => {
      await victim.agent(`a-${model}`, { models: [`bad/${model}`], maxOutputTokens: grant, tools: [] });
      const ended = await victim.unmoved(async () => victim.end(await victim.start({ agent: `a-${model}`, input: 'hello' })));
      // These two answer more than was asked for, which is read as far as the grant goes.
      if (model !== 'usage' && model !== 'lines-words')
        expect(ended).toMatchObject({ status: 'failed', error: { code: expect.stringMatching(/^provider_|^loop_detected$/) } });
      expect(ended.totals?.outputTokens ?? 0).toBeLessThanOrEqual((grant + chunk) * Math.max(1, ended.totals?.modelCalls ?? 1));
    },
  );

  it('holds little of what many providers send in tiny pieces at once, and others read on meanwhile [verifies hostile.provider.turns]', async () => {
    await victim.agent('steady', { models: ['steady/words'], tools: [] });
    const ways = ['lines-tiny', 'document-crumbs', 'line-crumbs'];
    const before = victim.residentMb();
    let most = 0;
    const looking = setInterval(() => {
      most = Math.max(most, victim.residentMb());
    }, 50);
    const lags = async () => {
      const all = Promise.all(
        many(60, async (index) => victim.end(await victim.start({ agent: `a-${ways[index % ways.length]}`, input: 'hello' }))),
      );
      const lag = await steady.lag(victim.url);
      await all;
      return lag;
    };
    let best = await lags();
    for (let tries = 1; tries < 3 && best >= 1_000; tries++) best = Math.min(best, await lags());
    clearInterval(looking);
    expect(most - before).toBeLessThan(400);
    expect(best).toBeLessThan(1_000);
  }, 180_000);

  it('stays within 600 MB of memory, whatever providers sent', () => {
    expect(victim.residentMb()).toBeLessThan(600);
  });

  it('reduces pages to text while others have their turn [verifies hostile.provider.pages]', async () => {
    await victim.agent('fetcher');
    const sessionId = (await victim.call('POST', '/v1/sessions', { agent: 'fetcher' })).body.id;
    await victim.unmoved(async () => {
      for (let page = 0; page < 6; page++) {
        const answer = await victim.call('POST', '/v1/tools/http_fetch/execute', {
          sessionId,
          input: { url: `http://127.0.0.1:${pages.port}/${page}` },
        });
        expect(answer.status, answer.text).toBe(200);
      }
    });
  });

  it('fetches from forty servers whose heads do not end, and nobody waits [verifies hostile.provider.heads]', async () => {
    await victim.agent('fetcher');
    const sessions = await Promise.all(many(8, () => victim.call('POST', '/v1/sessions', { agent: 'fetcher' })));
    await victim.unmoved(async () => {
      const fetches = many(40, (index) =>
        victim.call('POST', '/v1/tools/http_fetch/execute', {
          sessionId: sessions[index % sessions.length]?.body.id,
          input: { url: `http://127.0.0.1:${heads.port}/` },
        }),
      );
      for (const answer of await Promise.all(fetches)) expect(answer.text).toMatch(/cannot be|could not|tool_failed|rate_limited/);
    });
  });

  it('holds little for readers that do not read, whatever the log has [verifies hostile.provider.readers]', async () => {
    const image = { type: 'image', mediaType: 'image/png', data: { base64: 'A'.repeat(6_000_000) } };
    const text = { type: 'text', text: 'many words '.repeat(8_000) };
    const id = await victim.start({ model: 'sim/sim-large', input: [text, image] });
    await victim.end(id);
    const proof = Object.entries(victim.authorization)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('');
    const before = victim.residentMb();
    const { length } = (await victim.call('GET', `/v1/runs/${id}/events`)).text;
    expect(length).toBeGreaterThan(6_000_000);
    const readers = many(40, (index) => {
      const socket = connect(victim.port, '127.0.0.1');
      socket.on('error', () => undefined);
      const accept = index % 2 === 0 ? 'text/event-stream' : 'application/json';
      socket.write(`GET /v1/runs/${id}/events HTTP/1.1\r\nhost: 127.0.0.1:${victim.port}\r\naccept: ${accept}\r\n${proof}\r\n`);
      socket.pause();
      return socket;
    });
    const { maxMs } = await victim.watch(() => pause(4_000));
    const grown = victim.residentMb() - before;
    for (const socket of readers) socket.destroy();
    expect(grown).toBeLessThan(150);
    expect(maxMs).toBeLessThan(longestWaitMs);
  });

  it('has no more series after 2,100 requests with made-up names [verifies hostile.provider.labels]', async () => {
    const series = async () =>
      (await victim.call('GET', '/metrics')).text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
    for (const method of ['GET', 'POST', 'DELETE']) await victim.call(method, '/v1/nothing');
    await victim.call('POST', '/v1/runs', { agent: 'nobody', input: 'x' });
    await victim.call('POST', '/v1/runs', { model: 'nobody/nothing', input: 'x' });
    await victim.call('POST', '/v1/tools/nothing/execute', { input: {} });
    const before = await series();
    const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'MKCOL', 'LOCK', 'REPORT', 'SEARCH', 'PURGE'];
    for (let index = 0; index < 2_100; index += 30) {
      await Promise.all(
        many(30, (at) => {
          const name = `made-up-${index + at}`;
          const kind = at % 5;
          if (kind === 0) return victim.call('POST', '/v1/runs', { agent: name, input: 'x' });
          if (kind === 1) return victim.call('POST', '/v1/runs', { model: `${name}/${name}`, input: 'x' });
          if (kind === 2) return victim.call('POST', `/v1/tools/${name}/execute`, { input: {} });
          const method = methods[(index + at) % methods.length] ?? 'GET';
          return victim.call(method, `/${name}/${name}`, undefined, { 'user-agent': name }).catch(() => undefined);
        }),
      );
    }
    expect((await series()) - before).toBeLessThanOrEqual(40);
    expect((await victim.call('GET', '/metrics')).text).not.toContain('made-up');
  });
});
