import { request } from 'node:http';
import { connect } from 'node:net';
import { WireEvent } from '@nexus-agent/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestApi, type TestApi } from '#api/testing';

let api: TestApi;
beforeEach(async () => {
  api = await startTestApi({ limits: { streamLagMs: 300, streamPingMs: 50 } });
});
afterEach(() => api.api.close());

const start = async (input: string) => {
  const response = await fetch(`${api.url}/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ input }),
  });
  return ((await response.json()) as { id: string }).id;
};
const stream = (path: string, headers: Record<string, string> = {}, init: RequestInit = {}) =>
  fetch(api.url + path, { ...init, headers: { accept: 'text/event-stream', ...headers } });

interface Frame {
  id: string | undefined;
  event: string;
  data: WireEvent;
}

function frames(text: string): Frame[] {
  return text
    .split('\n\n')
    .filter((block) => block !== '' && !block.startsWith(':'))
    .map((block) => {
      const fields = Object.fromEntries(
        block.split('\n').map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]),
      );
      return { id: fields.id, event: fields.event ?? '', data: WireEvent.parse(JSON.parse(fields.data ?? '')) };
    });
}

/** Reads until the text fits, then leaves the stream open. */
async function readUntil(response: Response, pattern: RegExp): Promise<string> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = '';
  while (reader && !pattern.test(text)) {
    const { value, done } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  return text;
}

describe('the stream of a run', () => {
  it('has typed frames with ids and ends with the run', async () => {
    const response = await stream(
      '/v1/agents/chat/stream',
      { 'content-type': 'application/json' },
      { method: 'POST', body: '{"input":"hello there"}' },
    );
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.get('x-accel-buffering')).toBe('no');
    const seen = frames(await response.text());
    expect(response.headers.get('nexus-run-id')).toBe(seen[0]?.data.runId);
    expect(response.headers.get('nexus-session-id')).toMatch(/^ses_/);
    expect(seen.every(({ event, data }) => event === data.type)).toBe(true);
    expect(seen.map(({ id }) => id)).toEqual(['1', '2', '3', '4', '4.7', '4.14', '4.17', '5', '6', '7']);
    expect(seen.at(-1)?.event).toBe('run.completed');
    await expect.poll(() => api.streams).toEqual(['completed']);
  });

  it('greets by a bare GET, and takes the request as a query', async () => {
    expect(await (await stream('/v1/agents/chat/stream')).text()).toContain('Hello! Who are you?');
    expect(await (await stream('/v1/agents/chat/stream?input=good+day')).text()).toContain('"good day"');
    expect((await stream('/v1/agents/chat/stream?inptu=x')).status).toBe(400);
  });

  it('resumes after any id without a gap or a duplicate', async () => {
    const id = await start('hello there');
    const whole = frames(await (await stream(`/v1/runs/${id}/events`)).text());
    for (const [index, frame] of whole.entries()) {
      const rest = frames(await (await stream(`/v1/runs/${id}/events`, { 'last-event-id': frame.id ?? '' })).text());
      expect(rest).toEqual(whole.slice(index + 1));
      expect(frames(await (await stream(`/v1/runs/${id}/events?after=${frame.id}`)).text())).toEqual(rest);
    }
  });

  it('refuses an id that is none', async () => {
    const id = await start('hello');
    for (const bad of ['x', '1.', '-1', '1.2.3', '1e3', '9'.repeat(16)]) {
      const response = await stream(`/v1/runs/${id}/events`, { 'last-event-id': bad });
      expect(response.status, bad).toBe(400);
      expect(response.headers.get('content-type')).toBe('application/problem+json');
    }
  });

  it('never starts a second run for a client that reconnects to the chat path', async () => {
    expect((await stream('/v1/agents/chat/stream', { 'last-event-id': '3' })).status).toBe(400);
    const key = { 'idempotency-key': 'chat-1' };
    const first = await stream('/v1/agents/chat/stream?input=hi', key);
    const whole = frames(await first.text());
    const again = await stream('/v1/agents/chat/stream?input=hi', { ...key, 'last-event-id': '4' });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.headers.get('nexus-run-id')).toBe(first.headers.get('nexus-run-id'));
    expect(frames(await again.text())).toEqual(whole.slice(4));
  });

  it('shows an error as a problem before the first byte and as an event after it', async () => {
    const missing = await stream('/v1/runs/run_01h455vb4pex5vsknk084sn02q/events');
    expect(missing.status).toBe(404);
    const id = await start('break');
    const text = await (await stream(`/v1/runs/${id}/events`)).text();
    const last = text.trim().split('\n\n').at(-1) ?? '';
    expect(last).toMatch(/^event: error\ndata: .*"code":"internal"/);
    expect(text).not.toContain('secret internals');
    await expect.poll(() => api.streams).toEqual(['failed']);
  });

  it('sends comments while nothing happens', async () => {
    const id = await start('wait');
    const response = await stream(`/v1/runs/${id}/events`);
    expect(await readUntil(response, /: ping\n\n/)).toContain(': ping');
  });

  it('sends its head at once, even when there is nothing to tell yet', async () => {
    const id = await start('wait');
    const response = await stream(`/v1/runs/${id}/events`, { 'last-event-id': '4' });
    expect(response.status).toBe(200);
    await response.body?.cancel();
  });
});

describe('a reader', () => {
  it('that leaves is detached and the run goes on', async () => {
    const id = await start('wait');
    const abort = new AbortController();
    const response = await stream(`/v1/runs/${id}/events`, {}, { signal: abort.signal });
    await readUntil(response, /model\.started/);
    expect(api.service.liveFollowers()).toBe(1);
    abort.abort();
    await expect.poll(() => api.service.liveFollowers()).toBe(0);
    expect(api.service.runOf(id).run.status).toBe('running');
    await expect.poll(() => api.streams).toEqual(['disconnected']);
  });

  it('that does not read costs bounded memory and is detached', async () => {
    const id = await start('flood');
    const socket = connect(api.port, '127.0.0.1', () =>
      socket.write(`GET /v1/runs/${id}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n`),
    );
    socket.pause();
    await expect.poll(() => api.service.framesServed(), { timeout: 5000 }).toBeGreaterThan(0);
    await expect.poll(() => api.service.liveFollowers(), { timeout: 10_000 }).toBe(0);
    // What was taken from the run fits the socket buffers of the kernel (a few MB on loopback) and no more.
    expect(api.service.framesServed() * 64_000).toBeLessThan(40_000_000);
    expect(api.streams).toEqual(['lagged']);
    socket.destroy();
  });

  it('that was too slow is told where to go on', async () => {
    const id = await start('flood');
    const text = await new Promise<string>((resolve, reject) => {
      const outgoing = request(
        { port: api.port, host: '127.0.0.1', path: `/v1/runs/${id}/events`, headers: { accept: 'text/event-stream' } },
        (response) => {
          let tail = '';
          response.pause();
          setTimeout(() => response.resume(), 500);
          response.on('data', (chunk: Buffer) => {
            tail = (tail + chunk.toString('latin1')).slice(-70_000);
          });
          response.on('end', () => resolve(tail));
          response.on('error', reject);
        },
      );
      outgoing.end();
    });
    const ids = [...text.matchAll(/^id: (\d+)$/gm)].map((match) => match[1]);
    const lagged = /event: stream\.lagged\ndata: (.*)\n\n$/.exec(text)?.[1];
    expect(JSON.parse(lagged ?? '{}')).toEqual({ type: 'stream.lagged', runId: id, data: { lastEventId: ids.at(-1) } });
  });
});

it('ends streams in good order at shutdown and refuses new work', async () => {
  const id = await start('wait');
  const response = await stream(`/v1/runs/${id}/events`);
  const reading = response.text();
  await expect.poll(() => api.service.liveFollowers()).toBe(1);
  await api.api.close();
  const text = await reading;
  expect(text).toContain('event: model.started');
  expect(text).not.toContain('event: error');
  expect(api.streams).toEqual(['shutdown']);
  expect(api.service.runOf(id).run.status).toBe('running');
});
