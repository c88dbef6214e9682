import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, request, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WireEvent } from '@nexus-agent/protocol';
import { EventSource } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { StreamOutcome } from '#api/contract';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { systemClock, systemTimers } from '#core';
import type { Tool } from '#tools';
import { createStreamServer } from './server.ts';
import { watchNextResponse } from './server-side.testkit.ts';

const chatPath = '/v1/agents/chat/stream';
/** A model that never begins its answer. */
const silent = { input: 'hello', model: 'sim/sim-large?stall=0' };
/** Number of the event `model.started` in the log of a run: the ids of what the model says begin with it. */
const modelStarted = 5;

const flood: Tool = {
  name: 'flood',
  description: 'Gives a long text',
  inputSchema: { type: 'object', properties: {} },
  effects: 'none',
  permissions: [],
  timeoutMs: 10_000,
  execute: async () => ({ type: 'ok', output: 'x'.repeat(49_000) }),
};
/** Calls of it whose results make a log that no socket takes whole: 9 MB, where the kernel holds some 4 MB. */
const floodCalls = 180;
/** More than a batch may hold: it ends with the first event that takes it over 256,000 characters. */
const batchBytes = 310_000;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({
    config: { limits: { streamLagMs: 700, streamPingMs: 50 }, runs: { deltaCoalesceMs: 0 } },
    tools: [flood],
  });
});
afterAll(() => platform.close());

/** Waits for a condition as long as a busy machine may need. */
const eventually = <T>(probe: () => T) => expect.poll(probe, { timeout: 15_000, interval: 10 });

/** How many streams ended so far, by how. */
const closed = (outcome: string) => platform.metric('nexus_streams_closed_total', { outcome });
const openStreams = () => platform.metric('nexus_streams_open');

let leave = new AbortController();
afterEach(async () => {
  leave.abort();
  leave = new AbortController();
  // A stream counts as open until its follower has let go of the run.
  await eventually(openStreams).toBe(0);
});

const stream = (path: string, headers: Record<string, string> = {}, init: RequestInit = {}) =>
  fetch(platform.url + path, { signal: leave.signal, ...init, headers: { accept: 'text/event-stream', ...headers } });

const say = (input: string, headers: Record<string, string>) =>
  stream(chatPath, { 'content-type': 'application/json', ...headers }, { method: 'POST', body: JSON.stringify({ input }) });

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

/** What a client holds after these frames: the events of the log, and the model's words. */
function held(seen: readonly Frame[]): { events: WireEvent[]; words: string } {
  const events = seen.map(({ data }) => data).filter((event) => 'seq' in event);
  const words = seen.map(({ data }) => (data.type === 'model.delta' ? data.data.text : '')).join('');
  return { events, words };
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

/** A run that waits for a person, with a long log behind it. */
async function startFlood(): Promise<string> {
  await platform.agent('flooding', { policy: { allow: ['flood'], approve: ['fs_write'] }, maxParallelTools: 32 });
  const calls = ['fs_write(path="a.txt",content="a")', ...Array.from({ length: floodCalls }, () => 'flood()')];
  const id = await platform.start({ agent: 'flooding', input: `[[sim tools=${calls.join(',')}]]` });
  await platform.until(id, 'waiting');
  return id;
}

describe('the stream of a run', () => {
  it('has typed frames with ids and ends with the run', async () => {
    const before = await closed('completed');
    const body = JSON.stringify({ input: '[[sim say="hello there"]]' });
    const response = await stream(chatPath, { 'content-type': 'application/json' }, { method: 'POST', body });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.get('x-accel-buffering')).toBe('no');
    const seen = frames(await response.text());
    expect(response.headers.get('nexus-run-id')).toBe(seen[0]?.data.runId);
    expect(response.headers.get('nexus-session-id')).toMatch(/^ses_/);
    expect(seen.every(({ event, data }) => event === data.type)).toBe(true);
    const ids = seen.map(({ id }) => id);
    const ofText = ids.filter((id) => id?.startsWith(`${modelStarted}.`));
    expect(ids).toEqual(['1', '2', '3', '4', '5', ...ofText, '6', '7', '8', '9']);
    expect(ofText.at(-1)).toBe(`${modelStarted}.${'hello there'.length}`);
    expect(held(seen).words).toBe('hello there');
    expect(seen.at(-1)?.event).toBe('run.completed');
    await eventually(() => closed('completed')).toBe(before + 1);
  });

  it('greets by a bare GET, and starts nothing by one that says more: any link could [verifies hostile.steer.get]', async () => {
    expect(await (await stream(chatPath)).text()).toContain('Hello! Say in two sentences who you are');
    const runs = async () => (await platform.ask<{ data: unknown[] }>('GET', '/v1/runs')).data.length;
    const before = await runs();
    for (const query of ['input=good+day', 'input=', 'agent=chat', 'model=sim/sim-large', 'sessionId=x', 'inptu=x', '', '%69nput=x']) {
      const refused = await stream(`${chatPath}?${query}`);
      expect(refused.status, query).toBe(400);
      expect(await refused.text()).toContain('send POST /v1/agents/chat/stream');
    }
    expect(await runs()).toBe(before);
  });

  it('resumes after any id without a gap or a duplicate', async () => {
    const model = 'sim/sim-large?tokensPerSecond=500';
    const id = await platform.start({ input: '[[sim say="one two three four five six seven eight"]]', model });
    const live = frames(await (await stream(`/v1/runs/${id}/events`)).text());
    const whole = held(live);
    expect(whole.words).toBe('one two three four five six seven eight');
    const places = [...live.map((frame) => frame.id ?? ''), `${modelStarted}.2`];
    for (const place of places) {
      const rest = frames(await (await stream(`/v1/runs/${id}/events`, { 'last-event-id': place })).text());
      const [seq = 0, offset = 0] = place.split('.').map(Number);
      expect(held(rest).events, place).toEqual(whole.events.slice(seq));
      expect(held(rest).words, place).toBe(seq <= modelStarted ? whole.words.slice(offset) : '');
      expect(frames(await (await stream(`/v1/runs/${id}/events?after=${place}`)).text())).toEqual(rest);
    }
  });

  it('answers a reader that has seen the end of an ended run with 204, wherever it says so', async () => {
    const id = await platform.complete({ input: 'hello' });
    const last = (await platform.events(id)).length;
    const path = `/v1/runs/${id}/events`;
    for (const [place, status] of [
      [`${last - 1}`, 200],
      [`${last}`, 204],
      [`${last}.7`, 204],
      [`${last + 1}`, 204],
      ['999999999999999', 204],
    ] as const) {
      for (const [query, headers] of [
        ['', { 'last-event-id': place }],
        [`?after=${place}`, {}],
        [`?cursor=${place}`, {}],
        ['?after=0', { 'last-event-id': place }],
      ] as const) {
        const response = await stream(path + query, headers);
        expect(response.status, `${query} ${place}`).toBe(status);
        expect(response.headers.get('nexus-run-id')).toBe(id);
        const text = await response.text();
        if (status === 204) expect(text).toBe('');
        else expect(text).toContain('event: run.completed');
      }
    }
    expect((await stream(`${path}?after=${last}`, { accept: 'application/json' })).status).toBe(200);
  });

  it('answers 204 to a repeated start whose end was seen', async () => {
    const key = { 'idempotency-key': 'chat-seen' };
    const first = await say('hi', key);
    const last = frames(await first.text()).at(-1)?.id ?? '';
    const again = await say('hi', { ...key, 'last-event-id': last });
    expect(again.status).toBe(204);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.headers.get('nexus-run-id')).toBe(first.headers.get('nexus-run-id'));
  });

  it('goes on for a reader of a failed run once it is resumed', async () => {
    const id = await platform.start({ input: '[[sim say="one two three four"]]', model: 'sim/sim-large?cut=2&times=1' });
    await platform.until(id, 'failed');
    const seen = `${(await platform.events(id)).length}`;
    const path = `/v1/runs/${id}/events`;
    expect((await stream(path, { 'last-event-id': seen })).status).toBe(204);
    await platform.ask('POST', `/v1/runs/${id}/resume`);
    const rest = await stream(path, { 'last-event-id': seen });
    expect(rest.status).toBe(200);
    expect(frames(await rest.text()).at(-1)?.event).toBe('run.completed');
    expect((await stream(path, { 'last-event-id': seen })).status).toBe(200);
  });

  it('lets an EventSource read a run once and leave for good', async () => {
    const id = await platform.complete({ input: '[[sim say="hello there"]]' });
    const log = await platform.events(id);
    const seen: string[] = [];
    const ends: number[] = [];
    const source = new EventSource(`${platform.url}/v1/runs/${id}/events`, { node: { reconnectionTime: 10 } });
    for (const { type } of log) source.addEventListener(type, (event) => seen.push((event as MessageEvent).lastEventId));
    source.addEventListener('error', () => ends.push(source.readyState));
    await eventually(() => source.readyState).toBe(EventSource.CLOSED);
    expect(seen).toEqual(log.map(({ seq }) => `${seq}`));
    expect(ends.at(-1)).toBe(EventSource.CLOSED);
    source.close();
  });

  it('refuses an id that is none', async () => {
    const id = await platform.start({ input: 'hello' });
    for (const bad of ['x', '1.', '-1', '1.2.3', '1e3', '9'.repeat(16)]) {
      const response = await stream(`/v1/runs/${id}/events`, { 'last-event-id': bad });
      expect(response.status, bad).toBe(400);
      expect(response.headers.get('content-type')).toBe('application/problem+json');
    }
  });

  it('never starts a second run for a client that reconnects to the chat path', async () => {
    expect((await stream(chatPath, { 'last-event-id': '3' })).status).toBe(400);
    const key = { 'idempotency-key': 'chat-1' };
    const first = await say('hi', key);
    const whole = held(frames(await first.text()));
    const again = await say('hi', { ...key, 'last-event-id': '4' });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.headers.get('nexus-run-id')).toBe(first.headers.get('nexus-run-id'));
    expect(held(frames(await again.text()))).toEqual({ ...whole, events: whole.events.slice(4) });
  });

  it('shows an error as a problem before the first byte and as an event after it', async () => {
    const missing = await stream('/v1/runs/run_01h455vb4pex5vsknk084sn02q/events');
    expect(missing.status).toBe(404);
    const id = await platform.complete({ input: 'hello' });
    const before = await closed('failed');
    const mend = platform.faults.fail('readEventsWithin', new Error('secret internals'), { after: 1 });
    const text = await (await stream(`/v1/runs/${id}/events`)).text();
    mend();
    expect(text).toContain('event: run.created');
    const last = text.trim().split('\n\n').at(-1) ?? '';
    expect(last).toMatch(/^event: error\ndata: .*"code":"internal"/);
    expect(text).not.toContain('secret internals');
    await eventually(() => closed('failed')).toBe(before + 1);
  });

  it('sends comments while nothing happens', async () => {
    const id = await platform.start(silent);
    const response = await stream(`/v1/runs/${id}/events`);
    expect(await readUntil(response, /: ping\n\n/)).toContain(': ping');
  });

  it('sends its head at once, even when there is nothing to tell yet', async () => {
    const id = await platform.start(silent);
    const response = await stream(`/v1/runs/${id}/events`, { 'last-event-id': String(modelStarted) });
    expect(response.status).toBe(200);
    await response.body?.cancel();
  });
});

describe('a reader', () => {
  let flooded: string;
  beforeAll(async () => {
    flooded = `/v1/runs/${await startFlood()}/events`;
  });

  it('that leaves is detached and the run goes on', async () => {
    const before = await closed('disconnected');
    const id = await platform.start(silent);
    const response = await stream(`/v1/runs/${id}/events`);
    await readUntil(response, /model\.started/);
    expect(await openStreams()).toBe(1);
    leave.abort();
    await eventually(openStreams).toBe(0);
    expect(await closed('disconnected')).toBe(before + 1);
    expect((await platform.until(id, 'running')).status).toBe('running');
  });

  it('that does not read costs bounded memory and is detached', async () => {
    const before = await closed('lagged');
    const side = watchNextResponse(flooded);
    const socket = connect(platform.port, '127.0.0.1', () =>
      socket.write(`GET ${flooded} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n`),
    );
    socket.pause();
    await eventually(() => side.ended).toBe(true);
    await eventually(() => closed('lagged')).toBe(before + 1);
    expect(await openStreams()).toBe(0);
    // What was taken from the run fits the socket buffers of the kernel, and here waits no more than one batch.
    expect(side.written).toBeLessThan(0.7 * floodCalls * 49_000);
    expect(side.mostHeld).toBeGreaterThan(0);
    expect(side.mostHeld).toBeLessThan(batchBytes);
    await eventually(() => side.destroyed).toBe(true);
    socket.destroy();
  });

  it('that was too slow is told where to go on', async () => {
    const side = watchNextResponse(flooded);
    const text = await new Promise<string>((resolve, reject) => {
      const headers = { accept: 'text/event-stream' };
      const outgoing = request({ port: platform.port, host: '127.0.0.1', path: flooded, headers, agent: false }, (response) => {
        let tail = '';
        response.pause();
        void eventually(() => side.ended)
          .toBe(true)
          .then(() => response.resume(), reject);
        response.on('data', (chunk: Buffer) => {
          tail = (tail + chunk.toString('latin1')).slice(-70_000);
        });
        response.on('end', () => resolve(tail));
        response.on('error', reject);
      });
      outgoing.end();
    });
    const lastId = [...text.matchAll(/^id: (\d+)$/gm)].at(-1)?.[1] ?? '';
    const lagged = /event: stream\.lagged\ndata: (.*)\n\n$/.exec(text)?.[1];
    const runId = flooded.split('/')[3];
    expect(JSON.parse(lagged ?? '{}')).toEqual({ type: 'stream.lagged', runId, data: { lastEventId: lastId } });
    const rest = await readUntil(await stream(flooded, { 'last-event-id': lastId }), /\nevent/);
    expect(rest).toMatch(new RegExp(`^id: ${Number(lastId) + 1}\n`));
  });
});

it('lets go of the run also when its reader leaves while the socket is full', async () => {
  const outcomes: StreamOutcome[] = [];
  const streams = createStreamServer({
    lagMs: 60_000,
    pingMs: 60_000,
    clock: systemClock,
    timers: systemTimers,
    metrics: {
      streamOpened: () => undefined,
      streamEvents: () => undefined,
      streamClosed: ({ outcome }) => void outcomes.push(outcome),
    },
  });
  let followers = 0;
  async function* follow() {
    followers += 1;
    try {
      for (;;) yield [{ id: '1', event: 'run.created' as const, data: 'x'.repeat(1_000_000) }];
    } finally {
      followers -= 1;
    }
  }
  const problemOf = (error: unknown) => {
    throw error;
  };
  const served = Promise.withResolvers<void>();
  let full: ServerResponse | null = null;
  const server = createServer((_request, response) => {
    full = response;
    const stream = { runId: 'run_1', cursor: { seq: 0, offset: 0 }, headers: {}, follow, problemOf };
    void streams.serve(response, stream).then(served.resolve, served.reject);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const reader = connect(port, '127.0.0.1', () => reader.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'));
  reader.pause();
  await eventually(() => full?.writableNeedDrain).toBe(true);
  expect(followers).toBe(1);
  reader.destroy();
  await served.promise;
  expect(outcomes).toEqual(['disconnected']);
  expect(followers).toBe(0);
  await streams.close();
  await new Promise((resolve) => server.close(resolve));
});

describe('at shutdown', () => {
  let dataDir: string;
  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'nexus-test-'));
  });
  afterAll(() => rm(dataDir, { recursive: true, force: true }));

  it('ends streams in good order, and the runs go on elsewhere', async () => {
    const leaving = await startTestPlatform({ dataDir });
    const id = await leaving.start(silent);
    const reading = fetch(`${leaving.url}/v1/runs/${id}/events`, { headers: { accept: 'text/event-stream' } }).then((response) =>
      response.text(),
    );
    await eventually(() => leaving.metric('nexus_streams_open')).toBe(1);
    await leaving.close();
    const text = await reading;
    expect(text).toContain('event: model.started');
    expect(text).not.toContain('event: error');
    expect(text).toMatch(/\n\n: the server is shutting down, reconnect with the last event id\n\n$/);
    const next = await startTestPlatform({ dataDir });
    await next.until(id, 'running');
    await next.close();
  });

  it('refuses new work, with a time to come back, and answers what is in flight', async () => {
    const leaving = await startTestPlatform();
    const held = Promise.withResolvers<never>();
    let inFlight = false;
    leaving.faults.fail('listRuns', () => {
      inFlight = true;
      return held.promise;
    });
    const ask = (socket: Socket, path: string) => socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    const connection = connect(leaving.port, '127.0.0.1');
    const answers = new Promise<string>((resolve, reject) => {
      let text = '';
      connection.on('data', (chunk) => {
        text += String(chunk);
      });
      connection.on('close', () => resolve(text));
      connection.on('error', reject);
    });
    ask(connection, '/v1/runs');
    await eventually(() => inFlight).toBe(true);
    const closing = leaving.close();
    const second = watchNextResponse('/v1/sessions');
    ask(connection, '/v1/sessions');
    await eventually(() => second.started).toBe(true);
    held.reject(new Error('answered late'));
    await closing;
    expect(await answers).toMatch(/^HTTP\/1\.1 500 .*HTTP\/1\.1 503 .*retry-after: 1\r\n.*"code":"unavailable"/s);
  });
});
