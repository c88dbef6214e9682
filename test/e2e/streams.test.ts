import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AssistantPart, JournalEvent } from '@nexus-agent/protocol';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../packages/server/src/apps/config/index.ts';
import { acquirePostgres, type TestPostgres } from '../support/postgres.ts';
import { all, pause, startTestServer, type TestServer } from './support/server.ts';
import { createReader, type Frame, type Reader, readStream } from './support/stream.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();

/** Reasoning and text in several steps with parallel tools between them, slow enough to be watched. */
const script = [
  '[[sim think="first the plan: look at both — then compare" say="I look at both files now, wait a moment please." tools=probe(label="a",waitMs=60),probe(label="b",waitMs=20)]]',
  '[[sim think="both are here, one more look 🙂" say="One more look — naïve but thorough." tools=probe(label="c")]]',
  '[[sim think="so the answer is near" say="The answer has many words in it, all of them are said slowly. " tokens=150]]',
].join(' ');

/** A repeatable source of chances. */
function dice(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 0x9e37_79b9) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * below);
  };
}

/** What a client holds when it was never disturbed, from the log alone. */
function textsOf(events: readonly JournalEvent[]): Map<string, { kind: string; text: string }[]> {
  const merge = (content: readonly AssistantPart[]) => {
    const parts: { kind: string; text: string }[] = [];
    for (const part of content) {
      if (part.type === 'tool_call' || part.text === '') continue;
      const last = parts.at(-1);
      if (last?.kind === part.type) last.text += part.text;
      else parts.push({ kind: part.type, text: part.text });
    }
    return parts;
  };
  return new Map(all(events, 'model.completed').map(({ data }) => [data.callId, merge(data.content)]));
}

/**
 * Follows a run, leaving `leaves` times: after some frames, in the middle of one, or after some time. Who reached the
 * end and has not left often enough begins again from the first event. Gives what was held at each end.
 */
async function restless(urls: readonly string[], runId: string, leaves: number, chance: (below: number) => number): Promise<Reader[]> {
  const finished: Reader[] = [];
  let reader = createReader();
  await pause(chance(300));
  for (let left = 0; ; ) {
    const url = urls[chance(urls.length)] ?? '';
    let frames = 0;
    const most = chance(8);
    const way = left < leaves ? chance(3) : 3;
    const sawEnd = reader.events.at(-1)?.type === 'run.completed';
    const visit = await readStream(`${url}/v1/runs/${runId}/events`, {
      ...(reader.lastId === undefined ? {} : { lastEventId: reader.lastId }),
      ...(way === 0 ? { leaveAfterBytes: 1 + chance(3_000) } : {}),
      ...(way === 1 ? { until: () => ++frames > most } : {}),
      ...(way === 2 ? { signal: AbortSignal.timeout(1 + chance(40)) } : {}),
    }).catch(() => null); // left before the answer began
    if (visit !== null) expect(visit.status).toBe(sawEnd ? 204 : 200);
    for (const frame of visit?.frames ?? []) reader.take(frame);
    if (visit === null || !visit.ended) left += 1;
    else {
      expect(reader.events.at(-1)?.type).toBe('run.completed');
      finished.push(reader);
      if (left >= leaves) return finished;
      reader = createReader();
    }
  }
}

async function expectSame(server: TestServer, runId: string, readers: readonly Reader[]): Promise<void> {
  const log = await server.events(runId);
  const texts = textsOf(log);
  expect(texts.size).toBe(3);
  for (const reader of readers) {
    expect(reader.events).toEqual(log);
    expect(reader.texts).toEqual(texts);
  }
}

/** Another process over the same database. */
async function startProcess(flags: ConfigInput): Promise<{ url: string; close(): Promise<void> }> {
  const child: ChildProcess = spawn(
    process.execPath,
    [
      '--conditions=nexus-source',
      fileURLToPath(new URL('./support/server-process.ts', import.meta.url)),
      JSON.stringify({ port: 0, log: { level: 'silent' }, ...flags }),
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (data: Buffer) => resolve(data.toString().trim()));
    child.once('exit', (code) => reject(new Error(`the process ended with ${code}`)));
  });
  return {
    url,
    async close() {
      child.stdin?.end();
      await exited;
    },
  };
}

async function startRuns(server: TestServer, count: number): Promise<string[]> {
  return Promise.all(Array.from({ length: count }, () => server.start({ agent: 'talker', input: script })));
}

describe('one process', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startTestServer({
      tools: probe.tools,
      config: { limits: { streamLagMs: 2_000 } },
      models: { 'sim/sim-large': { contextTokens: 8_000_000, maxOutputTokens: 100_000 } },
    });
    await server.agent('talker', { models: ['sim/sim-large?tokensPerSecond=90'] });
    await server.agent('free');
    await server.agent('flooding', { policy: { allow: ['flood'], approve: ['costly'] }, maxParallelTools: 32 });
  });
  afterEach(() => server.verifyRuns());
  afterAll(() => server.close());

  it('gives every client the same through 1,500 disconnects at random points [verifies stream.resume.exact durability.log.gap-free]', async () => {
    const runs = await startRuns(server, 5);
    const clients = runs.flatMap((runId, run) =>
      Array.from({ length: 15 }, (_, client) =>
        restless([server.app.url], runId, 20, dice(1 + run * 100 + client)).then((readers) => ({ runId, readers })),
      ),
    );
    const undisturbed = runs.map(async (runId) => {
      const reader = createReader();
      const { frames } = await readStream(`${server.app.url}/v1/runs/${runId}/events`);
      for (const frame of frames) reader.take(frame);
      expect(frames.filter((frame) => frame.event === 'model.delta').length).toBeGreaterThan(20);
      return { runId, readers: [reader] };
    });
    const done = await Promise.all([...clients, ...undisturbed]);
    for (const runId of runs)
      await expectSame(
        server,
        runId,
        done.filter((entry) => entry.runId === runId).flatMap((entry) => entry.readers),
      );
  });

  it('detaches who leaves and goes on; only cancelling stops a run [verifies stream.detach]', async () => {
    const url = `${server.app.url}/v1/agents/chat/stream`;
    const left = await readStream(url, { body: { agent: 'talker', input: script }, until: (frame) => frame.event === 'model.delta' });
    const runId = left.frames[0]?.data.runId ?? '';
    const reader = createReader();
    for (const frame of left.frames) reader.take(frame);
    const rest = await readStream(`${server.app.url}/v1/runs/${runId}/events`, { lastEventId: reader.lastId ?? '' });
    for (const frame of rest.frames) reader.take(frame);
    await expectSame(server, runId, [reader]);
    expect((await server.run(runId)).status).toBe('completed');

    const cancelled = await server.start({ agent: 'talker', input: script });
    const watching = readStream(`${server.app.url}/v1/runs/${cancelled}/events`);
    await server.event(cancelled, 'model.started');
    await server.call('POST', `/v1/runs/${cancelled}/cancel`);
    const { frames, ended } = await watching;
    expect(ended).toBe(true);
    expect(frames.at(-1)?.event).toBe('run.cancelled');
  });

  it('detaches a reader that does not read, with a place to resume from [verifies stream.slow-reader]', async () => {
    const calls = ['costly()', ...Array.from({ length: 180 }, () => 'flood()')];
    const runId = await server.start({ agent: 'flooding', input: `[[sim tools=${calls.join(',')} say="here they come"]]` });
    await server.until(runId, 'waiting');
    const reader = createReader();
    const detached = () =>
      expect.poll(async () => (await server.call('GET', '/metrics')).body, { timeout: 20_000 }).toMatch(/outcome="lagged"/);
    // Reads nothing until the socket is full and the server gives up on it; what was sent by then can still be read.
    const lagged = await new Promise<{ frames: Frame[]; bytes: number }>((resolve, reject) => {
      const outgoing = request(`${server.app.url}/v1/runs/${runId}/events`, { agent: false, headers: { accept: 'text/event-stream' } });
      outgoing.on('error', reject);
      outgoing.on('response', (response) => {
        response.pause();
        detached().then(() => {
          let text = '';
          response.setEncoding('utf8');
          response.resume();
          response.on('data', (chunk: string) => {
            text += chunk;
          });
          response.on('close', () => {
            const frames = text.split('\n\n').flatMap((part) => {
              const data = /^data: (.*)$/m.exec(part)?.[1];
              const event = /^event: (.*)$/m.exec(part)?.[1] ?? '';
              if (data === undefined || !data.endsWith('}')) return [];
              return [{ id: /^id: (.*)$/m.exec(part)?.[1] ?? null, event, data: JSON.parse(data) } as Frame]; // what the server writes
            });
            resolve({ frames, bytes: text.length });
          });
        }, reject);
      });
      outgoing.end();
    });
    await server.call('POST', `/v1/runs/${runId}/cancel`, {});
    await server.until(runId, 'cancelled');
    const log = await server.events(runId);
    const whole = log.reduce((sum, event) => sum + JSON.stringify(event).length, 0);
    expect(whole).toBeGreaterThan(2_500_000);
    // Some 9 MB, of which the kernel holds a part.
    expect(lagged.bytes).toBeLessThan(whole * 0.9);
    const end = lagged.frames.at(-1);
    for (const frame of lagged.frames) if (frame.event !== 'stream.lagged') reader.take(frame);
    if (end?.data.type === 'stream.lagged') expect(end.data.data.lastEventId).toBe(reader.lastId);
    expect(end?.event).toBe('stream.lagged');
    const rest = await readStream(`${server.app.url}/v1/runs/${runId}/events`, { lastEventId: reader.lastId ?? '' });
    for (const frame of rest.frames) reader.take(frame);
    expect(reader.events).toEqual(log);
    expect(reader.texts).toEqual(textsOf(log));
  }, 60_000);

  it('streams the greeting on a bare GET [verifies api.bare-stream]', async () => {
    const { frames, ended } = await readStream(`${server.app.url}/v1/agents/chat/stream`);
    expect(ended).toBe(true);
    expect(frames[0]?.event).toBe('run.created');
    expect(frames.at(-1)?.event).toBe('run.completed');
    expect(frames.some((frame) => frame.event === 'model.delta')).toBe(true);
  });

  it('shows what a tool says while it runs, between its start and its end, and keeps none of it', async () => {
    await server.agent('speaking', { policy: { allow: ['code_js'] } });
    const input = `[[sim tools=code_js(code="console.log('half way'); 7")]] [[sim say="done"]]`;
    const { frames } = await readStream(`${server.app.url}/v1/agents/chat/stream`, { body: { agent: 'speaking', input } });
    const order = frames.map((frame) => frame.event).filter((event) => event.startsWith('tool.'));
    expect(order).toEqual(['tool.requested', 'tool.started', 'tool.output', 'tool.completed']);
    const output = frames.find((frame) => frame.event === 'tool.output');
    expect(output).toMatchObject({ id: null, data: { data: { step: 1, text: expect.stringContaining('half way') } } });
    const again = await readStream(`${server.app.url}/v1/runs/${frames[0]?.data.runId}/events`);
    expect(again.frames.map((frame) => frame.event)).not.toContain('tool.output');
  });

  it('refuses a place that does not exist, and ends at once at the end of a run', async () => {
    const { run } = await server.finish({ agent: 'free', input: 'hello' });
    const url = `${server.app.url}/v1/runs/${run.id}/events`;
    for (const seq of [run.lastSeq, run.lastSeq + 1]) {
      expect(await readStream(url, { lastEventId: String(seq) })).toMatchObject({ status: 204, frames: [] });
    }
    expect((await readStream(url, { lastEventId: 'x7' })).status).toBe(400);
  });

  it('follows a resumed run from the end of its failure', async () => {
    const sessionId = await server.session({ agent: 'free', budget: { toolCalls: 0 } });
    const { run } = await server.finish({ sessionId, input: '[[sim tools=probe(waitMs=200)]] [[sim say="at last"]]' });
    expect(run.status).toBe('failed');
    await server.call('PUT', '/v1/budgets', { scope: { kind: 'session', id: sessionId }, unit: 'toolCalls', limit: 5 });
    await server.call('POST', `/v1/runs/${run.id}/resume`);
    const url = `${server.app.url}/v1/runs/${run.id}/events`;
    const [rest, whole] = await Promise.all([readStream(url, { lastEventId: String(run.lastSeq) }), readStream(url)]);
    expect(rest.frames[0]?.event).toBe('run.resumed');
    expect(rest.frames.at(-1)?.event).toBe('run.completed');
    // The failure in the middle of the log is not its end.
    expect(whole.frames.at(-1)?.event).toBe('run.completed');
  });
});

describe('two processes over one database', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-e2e-two-'));
  let server: TestServer;
  let other: Awaited<ReturnType<typeof startProcess>>;
  beforeAll(async () => {
    server = await startTestServer({ tools: probe.tools, dataDir });
    await server.agent('talker', { models: ['sim/sim-large?tokensPerSecond=90'] });
    other = await startProcess({ dataDir });
  });
  afterEach(() => server.verifyRuns());
  afterAll(async () => {
    await other.close();
    await server.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('resumes from the other process by the log alone, through 250 disconnects [verifies stream.resume.process stream.resume.exact]', async () => {
    const runs = await startRuns(server, 2);
    for (const [index, runId] of runs.entries()) {
      const readers = Array.from({ length: 9 }, (_, client) =>
        restless([server.app.url, other.url], runId, 14, dice(5_000 + index * 100 + client)),
      );
      await expectSame(server, runId, (await Promise.all(readers)).flat());
    }
  });
});

describe('two processes over Postgres', async () => {
  const postgres = await acquirePostgres();
  if ('reason' in postgres) {
    it.skip(`not run: ${postgres.reason}`);
    return;
  }
  const { url, close }: TestPostgres = postgres;
  let server: TestServer;
  let other: Awaited<ReturnType<typeof startProcess>>;
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-e2e-pg-'));
  beforeAll(async () => {
    server = await startTestServer({ tools: probe.tools, config: { databaseUrl: url } });
    await server.agent('talker', { models: ['sim/sim-large?tokensPerSecond=90'] });
    other = await startProcess({ databaseUrl: url, dataDir });
  });
  afterEach(() => server.verifyRuns());
  afterAll(async () => {
    await other.close();
    await server.close();
    await close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('carries live text to the other process and resumes there, through 250 disconnects [verifies stream.resume.process stream.resume.exact]', async () => {
    const runs = await startRuns(server, 2);
    const watched = runs.map(async (runId) => {
      const reader = createReader();
      const { frames } = await readStream(`${other.url}/v1/runs/${runId}/events`);
      for (const frame of frames) reader.take(frame);
      // Text arrives while the model speaks, not only when it has ended.
      expect(frames.filter((frame) => frame.event === 'model.delta').length).toBeGreaterThan(12);
      return { runId, readers: [reader] };
    });
    const clients = runs.flatMap((runId, index) =>
      Array.from({ length: 9 }, (_, client) =>
        restless([server.app.url, other.url], runId, 14, dice(9_000 + index * 100 + client)).then((readers) => ({ runId, readers })),
      ),
    );
    const done = await Promise.all([...watched, ...clients]);
    for (const runId of runs)
      await expectSame(
        server,
        runId,
        done.filter((entry) => entry.runId === runId).flatMap((entry) => entry.readers),
      );
  });
});
