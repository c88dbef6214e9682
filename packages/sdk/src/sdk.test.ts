import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { WireEvent } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { collectText, createNexusClient, createTextAssembler, NexusApiError } from './index.ts';
import { decodeSse } from './sse-decoder.ts';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void;

/** A server that answers by script, and a client of it with short waits. */
async function serve(handler: Handler, apiKey = 'nx_a_b') {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    request.resume().on('end', () => handler(request, response, seen.length));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // a TCP server has such an address
  const client = createNexusClient({
    baseUrl: `http://127.0.0.1:${port}/`,
    apiKey,
    retry: { maxAttempts: 4, baseMs: 1, maxMs: 5 },
  });
  return { client, seen };
}

it('says that a key cannot be one, and never repeats it', async () => {
  for (const apiKey of ['nx_a_s3cret\nnx', 'nx_a s3cret', 'nx_s3cret\u2026', '  ']) {
    const client = createNexusClient({ baseUrl: 'http://127.0.0.1:1', apiKey });
    const error = await client.runs.list().catch((fault: unknown) => fault);
    expect(error).toMatchObject({ code: 'unauthenticated', message: expect.stringContaining('the API key holds a blank, a line break') });
    expect(String(error)).not.toContain('s3cret');
  }
  // As read from a file.
  const { client, seen } = await serve((_request, response) => response.end('{"data":[],"nextCursor":null}'), 'nx_a_b\n');
  await client.runs.list();
  expect(seen[0]?.headers.authorization).toBe('Bearer nx_a_b');
});

it('tells an address that is not of a Nexus server', async () => {
  const { client } = await serve((_request, response) => response.end('<html>'));
  await expect(client.runs.list()).rejects.toMatchObject({
    code: 'internal',
    message: expect.stringContaining('something else than JSON'),
  });
});

const runId = 'run_1';
const delta = (seq: number, offset: number, text: string) => ({
  id: `${seq}.${offset + text.length}`,
  event: { type: 'model.delta', runId, data: { step: 1, callId: 'c', kind: 'text', offset, text } } as WireEvent,
});
const journal = (seq: number, type: string, data: object) => ({
  id: String(seq),
  event: { type, runId, seq, at: '2026-01-01T00:00:00.000Z', data } as unknown as WireEvent, // only what the reader looks at
});
type Item = { id: string | null; event: WireEvent };
const text = ({ id, event }: Item) => `${id === null ? '' : `id: ${id}\n`}event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;

const answer = 'The quick brown fox jumps over the lazy dog.';
const script: Item[] = [
  journal(1, 'run.created', {}),
  journal(2, 'model.started', {}),
  ...Array.from(answer.match(/.{1,6}/g) ?? [], (piece, index) => delta(2, index * 6, piece)),
  journal(3, 'model.completed', {}),
  journal(4, 'message.completed', { text: answer }),
  journal(5, 'run.completed', {}),
];

/** The position after an event id. */
const after = (id: string | undefined) => (id === undefined ? 0 : script.findIndex((item) => item.id === id) + 1);

const problem = (code: string, status: number, retryable: boolean) =>
  JSON.stringify({ type: 'x', title: 'x', status, detail: `detail of ${code}`, code, retryable });

async function drain(events: AsyncIterable<WireEvent>): Promise<WireEvent[]> {
  const all: WireEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

describe('a stream', () => {
  it('is the same however often the connection is cut [verifies sdk.resume]', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.integer({ min: 0, max: 12 }), fc.boolean(), fc.integer({ min: 0, max: 60 }))), async (cuts) => {
        const plan = cuts.filter(([frames]) => frames > 0);
        const { client, seen } = await serve((request, response, count) => {
          response.writeHead(200, { 'content-type': 'text/event-stream', 'nexus-run-id': runId });
          const header = request.headers['last-event-id'];
          const from = after(typeof header === 'string' ? header : undefined);
          const cut = plan[count - 1];
          if (cut === undefined) return void response.end(script.slice(from).map(text).join(''));
          // Repeats a frame that was seen, sends some more, then part of another, and breaks.
          const [frames, repeat, partial] = cut;
          response.write(
            script
              .slice(Math.max(0, repeat ? from - 1 : from), from + frames)
              .map(text)
              .join('') +
              text(script[from] ?? (script[0] as Item))
                .slice(0, partial)
                .replace(/\n\n$/, ''),
          );
          setImmediate(() => (repeat ? response.destroy() : response.end()));
        });
        const events = await drain(client.chat({ input: 'x' }));
        expect(events).toEqual(script.map(({ event }) => event));
        expect(seen.slice(1).every(({ url }) => url?.startsWith(`/v1/runs/${runId}/events`))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('is over, without another attempt, when the server says that nothing is left of the run', async () => {
    const { client, seen } = await serve((_request, response) => void response.writeHead(204, { 'nexus-run-id': runId }).end());
    expect(await drain(client.runs.stream(runId, { after: '5' }))).toEqual([]);
    expect(seen).toHaveLength(1);
    expect(seen[0]?.headers['last-event-id']).toBe('5');
  });

  it('goes on behind the last event after a lag, and hides it [verifies sdk.resume]', async () => {
    const { client, seen } = await serve((request, response, count) => {
      response.writeHead(200, { 'nexus-run-id': runId });
      if (count > 1)
        return void response.end(
          script
            .slice(after(String(request.headers['last-event-id'])))
            .map(text)
            .join(''),
        );
      const lagged = { type: 'stream.lagged', runId, data: { lastEventId: '2' } } as const;
      response.end(script.slice(0, 2).map(text).join('') + text({ id: null, event: lagged }));
    });
    expect(await collectText(client.runs.stream(runId))).toBe(answer);
    expect(seen.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, '2']);
  });

  it('repeats an opening that failed under the same idempotency key', async () => {
    const { client, seen } = await serve((_request, response, count) => {
      if (count === 1) return void response.destroy();
      if (count === 2)
        return void response.writeHead(503, { 'content-type': 'application/problem+json' }).end(problem('unavailable', 503, true));
      response.writeHead(200, { 'nexus-run-id': runId }).end(script.map(text).join(''));
    });
    await drain(client.chat({ input: 'x' }));
    expect(new Set(seen.map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
    expect(seen).toHaveLength(3);
  });

  it('gives up after a bounded number of attempts without progress', async () => {
    const { client, seen } = await serve((_request, response) => void response.writeHead(200).end());
    await expect(drain(client.runs.stream(runId))).rejects.toMatchObject({ code: 'unavailable' });
    expect(seen).toHaveLength(4);
  });

  it('reads an event of many megabytes in time linear in its size, however it is cut', async () => {
    const large = 'é'.repeat(4_000_000);
    const bytes = new TextEncoder().encode(`data: ${large}\n\n`);
    for (const size of [509, 65_536]) {
      let at = 0;
      const pieces = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (at >= bytes.length) return controller.close();
          controller.enqueue(bytes.subarray(at, at + size));
          at += size;
        },
      });
      const startedMs = performance.now();
      const seen: number[] = [];
      for await (const { data } of decodeSse(pieces)) seen.push(data.length);
      expect(seen).toEqual([large.length]);
      expect(performance.now() - startedMs).toBeLessThan(5_000);
    }
  });

  it('throws a refusal and an error event at once', async () => {
    const refused = await serve(
      (_request, response) =>
        void response.writeHead(402, { 'content-type': 'application/problem+json' }).end(problem('budget_exceeded', 402, false)),
    );
    await expect(drain(refused.client.chat({ input: 'x' }))).rejects.toMatchObject({ code: 'budget_exceeded', status: 402 });
    const broken = await serve((_request, response) => {
      const event = { type: 'error', runId, data: JSON.parse(problem('internal', 500, false)) } as WireEvent;
      response.writeHead(200, { 'nexus-run-id': runId }).end(text({ id: null, event }));
    });
    await expect(drain(broken.client.chat({ input: 'x' }))).rejects.toMatchObject({ code: 'internal' });
    expect(refused.seen.length + broken.seen.length).toBe(2);
  });

  it.each([
    ['a day', 86_400],
    ['tomorrow', new Date(Date.now() + 86_400_000).toUTCString()],
    ['longer than a timer can', 2 ** 31],
    ['longer than anybody lives', 1e300],
  ])('waits when it is asked to wait for %s', async (_what, retryAfter) => {
    const leave = new AbortController();
    const { client, seen } = await serve((_request, response) => {
      response.writeHead(503, { 'retry-after': String(retryAfter) }).end();
      setTimeout(() => leave.abort(new Error('left')), 50); // however long a busy machine took to get here
    });
    await expect(drain(client.runs.stream(runId, { signal: leave.signal }))).rejects.toThrow('left');
    expect(seen).toHaveLength(1);
  });

  it.each([Number.POSITIVE_INFINITY, 2 ** 31])('may be silent for %d ms', async (idleTimeoutMs) => {
    const { client, seen } = await serve((_request, response) => {
      response.writeHead(200);
      response.write(': ping\n\n');
      setTimeout(() => response.end(script.map(text).join('')), 50);
    });
    expect(await drain(client.runs.stream(runId, { idleTimeoutMs }))).toHaveLength(script.length);
    expect(seen).toHaveLength(1);
  });

  it('keeps its place when a connection ends before it brought anything [verifies sdk.resume]', async () => {
    const { client, seen } = await serve((_request, response, count) => {
      response.writeHead(200);
      if (count <= 2) return void response.end(': ping\n\n');
      response.end(script.slice(2).map(text).join(''));
    });
    expect(await drain(client.runs.stream(runId, { after: '2' }))).toHaveLength(script.length - 2);
    expect(seen.map(({ headers }) => headers['last-event-id'])).toEqual(['2', '2', '2']);
  });

  it('reconnects when the connection falls silent', async () => {
    const { client } = await serve((_request, response, count) => {
      response.writeHead(200, { 'nexus-run-id': runId });
      if (count === 1) return void response.write(script.slice(0, 2).map(text).join(''));
      response.end(script.slice(2).map(text).join(''));
    });
    expect(await drain(client.runs.stream(runId, { idleTimeoutMs: 100 }))).toHaveLength(script.length);
  });

  it('ends when aborted or left, and closes its connection', async () => {
    const closed: string[] = [];
    const abort = new AbortController();
    const { client } = await serve((_request, response) => {
      response.on('close', () => closed.push('closed'));
      response.writeHead(200, { 'nexus-run-id': runId }).write(script.slice(0, 2).map(text).join(''));
      setTimeout(() => abort.abort(new Error('enough')), 30);
    });
    const reading = drain(client.runs.stream(runId, { signal: abort.signal }));
    await expect(reading).rejects.toThrow('enough');
    for await (const event of client.runs.stream(runId)) if (event.type === 'model.started') break;
    await expect.poll(() => closed).toHaveLength(2);
  });
});

describe('a call', () => {
  it('is repeated when that is safe, and not otherwise', async () => {
    const { client, seen } = await serve(
      (_request, response) =>
        void response.writeHead(503, { 'content-type': 'application/problem+json' }).end(problem('unavailable', 503, true)),
    );
    await expect(client.sessions.list()).rejects.toBeInstanceOf(NexusApiError);
    expect(seen).toHaveLength(4);
    await expect(client.sessions.create({})).rejects.toMatchObject({ code: 'unavailable' });
    expect(new Set(seen.slice(4).map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
    const before = seen.length;
    await expect(client.tools.execute('t', { sessionId: 's' })).rejects.toBeInstanceOf(NexusApiError);
    expect(seen).toHaveLength(before + 1);
  });

  it('tells by the status what something in front of the server says', async () => {
    const codes = { 401: 'unauthenticated', 404: 'not_found', 418: 'invalid_request', 429: 'rate_limited', 502: 'unavailable' };
    for (const [status, code] of Object.entries(codes)) {
      const { client } = await serve((_request, response) => void response.writeHead(Number(status)).end('<html>'));
      await expect(client.runs.cancel('run_1')).rejects.toMatchObject({ code, status: Number(status) });
    }
  });

  it('carries the key and the query, and reads what is not a problem by its status', async () => {
    const { client, seen } = await serve(
      (_request, response) => void response.writeHead(404, { 'content-type': 'text/html' }).end('<html>'),
    );
    await expect(client.runs.list({ status: 'failed', limit: 5 })).rejects.toMatchObject({ code: 'not_found', status: 404 });
    expect(seen[0]?.headers.authorization).toBe('Bearer nx_a_b');
    expect(seen[0]?.url).toBe('/v1/runs?limit=5&status=failed');
  });

  it('says which server did not answer', async () => {
    const client = createNexusClient({ baseUrl: 'http://127.0.0.1:1', retry: { maxAttempts: 1 } });
    await expect(client.models.list()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('http://127.0.0.1:1'),
    });
  });
});

describe('the text', () => {
  const reset = (value: string): WireEvent => ({
    type: 'message.reset',
    runId,
    data: { step: 1, callId: 'c', parts: [{ kind: 'text', text: value }], offset: value.length },
  });

  it('is whole whatever overlaps', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 40 }), fc.array(fc.nat({ max: 40 })), (whole, starts) => {
        const assembler = createTextAssembler();
        let shown = '';
        const points = [...starts.map((start) => start % (whole.length + 1)), whole.length].sort((a, b) => a - b);
        for (const end of points) {
          const start = Math.floor(Math.min(end, shown.length) / 2);
          const change = assembler.push(delta(2, start, whole.slice(start, end)).event);
          if (change?.type === 'append') shown += change.text;
        }
        expect(assembler.text).toBe(whole);
        expect(shown).toBe(whole);
      }),
    );
  });

  it('starts again after a restart and obeys a reset', () => {
    const assembler = createTextAssembler();
    assembler.push(delta(2, 0, 'Half an ans').event);
    expect(assembler.push(journal(3, 'step.restarted', { step: 1, callId: 'c', kind: 'model', attempt: 2, reason: 'lost' }).event)).toEqual(
      { type: 'replace', text: '', reasoning: '' },
    );
    assembler.push(delta(3, 0, 'Anew').event);
    expect(assembler.text).toBe('Anew');
    expect(assembler.push(reset('Whole'))).toEqual({ type: 'replace', text: 'Whole', reasoning: '' });
    assembler.push(delta(3, 5, ' text').event);
    expect(assembler.text).toBe('Whole text');
  });

  it('is that of the last time where a call is made again, as when a run is resumed whose budget had cut the answer', () => {
    const assembler = createTextAssembler();
    const started = { step: 1, callId: 'c', attempt: 1 };
    expect(assembler.push(journal(2, 'model.started', started).event)).toBeNull();
    assembler.push(delta(2, 0, 'Cut where the bud').event);
    assembler.push(journal(3, 'model.completed', started).event);
    expect(assembler.text).toBe('Cut where the bud');
    expect(assembler.push(journal(6, 'model.started', started).event)).toEqual({ type: 'replace', text: '', reasoning: '' });
    assembler.push(delta(6, 0, 'In full').event);
    expect(assembler.text).toBe('In full');
  });

  it('refuses a gap rather than showing a wrong text', () => {
    const assembler = createTextAssembler();
    expect(() => assembler.push(delta(2, 5, 'x').event)).toThrow('lacks the text from 0 to 5');
  });
});

it('decodes any chunking of any line ends alike', async () => {
  const raw = ': hello\n\nid: 1\r\nevent: a\r\ndata: {"x":"ä€😀"}\r\n\r\ndata: one\rdata:two\r\rid\nevent: b\ndata\n\nid: 9\ndata: cut';
  const expected = [
    { id: '1', event: 'a', data: '{"x":"ä€😀"}' },
    { id: null, event: 'message', data: 'one\ntwo' },
    { id: '', event: 'b', data: '' },
  ];
  const bytes = new TextEncoder().encode(raw);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat({ max: bytes.length })), async (cuts) => {
      const points = [0, ...cuts, bytes.length].sort((a, b) => a - b);
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          for (let index = 1; index < points.length; index++) controller.enqueue(bytes.slice(points[index - 1], points[index]));
          controller.close();
        },
      });
      const frames: unknown[] = [];
      for await (const frame of decodeSse(body)) frames.push(frame);
      expect(frames).toEqual(expected);
    }),
    { numRuns: 60 },
  );
});
