import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { NexusError, parseTraceparent } from '#core';
import { createManualTime } from '#core/testing';
import { attributes, createTracer, type Logger, operations, spanNames, type Tracer } from './index.ts';
import { silentLogger } from './testing/index.ts';

interface ReceivedSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
  status: { code: number; message?: string };
}

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A receiver of OTLP over HTTP with JSON, as a collector is one. */
async function startReceiver(answer: { status: number; delayMs?: number } = { status: 200 }) {
  const spans: ReceivedSpan[] = [];
  const seen: { url: string | undefined; headers: Record<string, unknown>; resource: unknown }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString());
      for (const resourceSpans of body.resourceSpans) {
        seen.push({ url: request.url, headers: request.headers, resource: resourceSpans.resource });
        for (const scope of resourceSpans.scopeSpans) spans.push(...scope.spans);
      }
      setTimeout(() => response.writeHead(answer.status, { 'content-type': 'application/json' }).end('{}'), answer.delayMs ?? 0).unref();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans, seen }; // listens on a port
}

function tracerTo(endpoint: string, options: Partial<Parameters<typeof createTracer>[0]> = {}): Tracer {
  const tracer = createTracer({ endpoint, serviceName: 'nexus-test', ...options });
  cleanups.push(() => tracer.close(500));
  return tracer;
}

const attributeOf = (span: ReceivedSpan | undefined, key: string) => span?.attributes.find((attribute) => attribute.key === key)?.value;

describe('with an endpoint', () => {
  it('delivers one tree from run to step to model and tool, continued after a recovery', async () => {
    const { endpoint, spans, seen } = await startReceiver();
    const first = tracerTo(`${endpoint}/`, { headers: { 'x-team': 'core' }, serviceVersion: '1.2.3' });
    const incoming = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const run = first.start(spanNames.run('chat'), {
      parent: incoming,
      attributes: { [attributes.operation]: operations.run, [attributes.agentName]: 'chat', [attributes.runId]: 'run_1' },
    });
    const step = first.start(spanNames.step, { parent: run, attributes: { [attributes.step]: 1 } });
    const model = first.start(spanNames.model('sim-large'), { kind: 'client', parent: step.traceparent });
    model.setAttributes({
      [attributes.inputTokens]: 12,
      [attributes.finishReasons]: ['tool_calls'],
      [attributes.responseModel]: undefined,
    });
    model.end();
    const tool = first.start(spanNames.tool('fs_read'), { parent: step });
    tool.recordError(new NexusError('tool_timeout', 'the tool took too long'));
    tool.end();
    const stored = run.traceparent;
    await first.close();

    // Another worker goes on from what was stored; the step that was cut off never ended.
    const second = tracerTo(endpoint);
    const resumed = second.start(spanNames.run('chat'), {
      parent: stored,
      attributes: { [attributes.recovered]: true },
    });
    const again = second.start(spanNames.step, { parent: resumed });
    again.end();
    resumed.end();
    await second.close();

    expect(seen.every(({ url }) => url === '/v1/traces')).toBe(true);
    expect(seen[0]?.headers['x-team']).toBe('core');
    expect(JSON.stringify(seen[0]?.resource)).toMatch(/nexus-test.*1\.2\.3/);
    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set(['0af7651916cd43dd8448eb211c80319c']));
    const byName = new Map(spans.map((span) => [span.name, span]));
    expect([...byName.keys()].sort()).toEqual(['chat sim-large', 'execute_tool fs_read', 'invoke_agent chat', 'step']);
    const stepId = parseTraceparent(step.traceparent)?.spanId;
    const runId = parseTraceparent(run.traceparent)?.spanId;
    expect(byName.get('chat sim-large')).toMatchObject({ parentSpanId: stepId, kind: 3 });
    expect(byName.get('execute_tool fs_read')).toMatchObject({
      parentSpanId: stepId,
      status: { code: 2, message: 'the tool took too long' },
    });
    expect(attributeOf(byName.get('execute_tool fs_read'), 'error.type')).toEqual({ stringValue: 'tool_timeout' });
    expect(attributeOf(byName.get('chat sim-large'), 'gen_ai.usage.input_tokens')).toEqual({ intValue: 12 });
    expect(attributeOf(byName.get('chat sim-large'), 'gen_ai.response.model')).toBeUndefined();
    expect(byName.get('invoke_agent chat')).toMatchObject({ parentSpanId: runId });
    expect(byName.get('step')?.parentSpanId).toBe(byName.get('invoke_agent chat')?.spanId);
    const [start, end] = [spans[0]?.startTimeUnixNano, spans[0]?.endTimeUnixNano].map(Number);
    expect(Math.abs((start ?? 0) / 1e6 - Date.now())).toBeLessThan(60_000);
    expect(end).toBeGreaterThanOrEqual(start ?? 0);
  });

  it('delivers more spans than fit in one batch, each once', async () => {
    const { endpoint, spans } = await startReceiver();
    const tracer = tracerTo(endpoint);
    for (let index = 0; index < 1200; index++) {
      const span = tracer.start(`span ${index}`);
      span.end();
      span.end();
    }
    await tracer.close(10_000);
    expect(new Set(spans.map(({ name }) => name)).size).toBe(1200);
    expect(spans).toHaveLength(1200);
  });

  it('keeps of an error only what it is called, and what it says to clients without credentials', async () => {
    const { endpoint, spans } = await startReceiver();
    const tracer = tracerTo(endpoint);
    for (const error of [new Error('private'), new NexusError('internal', 'no postgres://user:private@host/db')]) {
      const span = tracer.start('a');
      span.recordError(error);
      span.end();
    }
    await tracer.close();
    expect(JSON.stringify(spans)).not.toContain('private');
    expect(attributeOf(spans[0], 'error.type')).toEqual({ stringValue: 'Error' });
    expect(spans[1]?.status.message).toBe('no postgres://user:[redacted]@host/db');
  });

  it('keeps the first 2048 spans that end before the exporter is loaded', async () => {
    const { endpoint, spans } = await startReceiver();
    const tracer = tracerTo(endpoint);
    for (let index = 0; index < 2100; index++) tracer.start(`span ${index}`).end();
    await tracer.close(10_000);
    expect(spans.map(({ name }) => name).sort()).toEqual(Array.from({ length: 2048 }, (_, index) => `span ${index}`).sort());
  });

  it('bounds attributes, and respects that the caller does not sample', async () => {
    const { endpoint, spans } = await startReceiver();
    const tracer = tracerTo(endpoint);
    const big = tracer.start('big', {
      attributes: Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`a${index}`, 'x'.repeat(10_000)])),
    });
    big.end();
    const unsampled = tracer.start('unsampled', { parent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00' });
    unsampled.end();
    await tracer.close();
    expect(unsampled.traceparent).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-00$/);
    expect(spans.map(({ name }) => name)).toEqual(['big']);
    expect(spans[0]?.attributes).toHaveLength(128);
    expect(JSON.stringify(spans).length).toBeLessThan(700_000);
  });

  it('gives up closing after its bound when the receiver does not answer', async () => {
    const { endpoint } = await startReceiver({ status: 200, delayMs: 60_000 });
    const time = createManualTime();
    const tracer = createTracer({ endpoint, serviceName: 'nexus-test', timers: time.timers });
    tracer.start('a').end();
    let closed = false;
    const closing = tracer.close(300).then(() => {
      closed = true;
    });
    await time.advance(299);
    expect(closed).toBe(false);
    await time.advance(1);
    await closing;
  });

  it('says that spans are lost, once', async () => {
    const { endpoint, seen } = await startReceiver({ status: 400 });
    const warnings: string[] = [];
    const logger: Logger = { ...silentLogger, warn: (_, message) => void warnings.push(message) };
    const tracer = tracerTo(endpoint, { logger });
    for (let index = 0; index < 1200; index++) tracer.start('a').end();
    await tracer.close(5000);
    expect(seen.length).toBeGreaterThan(1);
    expect(warnings).toEqual(['spans could not be delivered; they are dropped']);
  });
});

describe('without an endpoint', () => {
  const tracer = createTracer({ serviceName: 'nexus-test' });

  it('still gives valid ids, one trace per root', () => {
    const spans = Array.from({ length: 2000 }, () => tracer.start('a'));
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(2000);
    for (const span of spans) expect(parseTraceparent(span.traceparent)).toMatchObject({ traceId: span.traceId, sampled: true });
    const child = tracer.start('b', { parent: spans[0] ?? '' });
    expect(child.traceId).toBe(spans[0]?.traceId);
    expect(child.traceparent).not.toBe(spans[0]?.traceparent);
  });

  it.each([
    '',
    'nonsense',
    `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    `00-0af7651916cd43dd8448eb211c80319c-${'0'.repeat(16)}-01`,
    'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  ])('begins a new trace when the parent is "%s"', (parent) => {
    expect(parseTraceparent(tracer.start('a', { parent }).traceparent)?.traceId).not.toBe('0af7651916cd43dd8448eb211c80319c');
  });

  it('does nothing on close', async () => {
    tracer.start('a').end();
    await tracer.close();
  });
});
