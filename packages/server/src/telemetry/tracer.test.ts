import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { NexusError, parseTraceparent } from '#core';
import { attributes, contentAttributes, createTracer, type Logger, operations, silentLogger, spanNames, type Tracer } from './index.ts';

interface ReceivedSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
  links?: { traceId: string; spanId: string }[];
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
    const first = tracerTo(`${endpoint}/`, { headers: { 'x-team': 'core' }, serviceVersion: '1.2.3', instanceId: 'wrk_1' });
    const incoming = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const run = first.start(spanNames.run('chat'), {
      kind: 'server',
      parent: incoming,
      attributes: { [attributes.operation]: operations.run, [attributes.agentName]: 'chat', [attributes.runId]: 'run_1' },
    });
    const step = first.start(spanNames.step, { parent: run, attributes: { [attributes.step]: 1 } });
    const model = first.start(spanNames.model('sim-large'), { kind: 'client', parent: step.traceparent });
    model.setAttributes({ [attributes.inputTokens]: 12, [attributes.finishReasons]: ['tool_calls'], [attributes.responseId]: undefined });
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
      links: [step.traceparent],
      attributes: { [attributes.recovered]: true },
    });
    const again = second.start(spanNames.step, { parent: resumed });
    again.end();
    resumed.end();
    await second.close();

    expect(seen.every(({ url }) => url === '/v1/traces')).toBe(true);
    expect(seen[0]?.headers['x-team']).toBe('core');
    expect(JSON.stringify(seen[0]?.resource)).toMatch(/nexus-test.*1\.2\.3.*wrk_1/);
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
    expect(attributeOf(byName.get('chat sim-large'), 'gen_ai.response.id')).toBeUndefined();
    expect(byName.get('invoke_agent chat')).toMatchObject({ parentSpanId: runId, links: [{ spanId: stepId }] });
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
    await tracer.flush(10_000);
    expect(new Set(spans.map(({ name }) => name)).size).toBe(1200);
    expect(spans).toHaveLength(1200);
  });

  it('keeps content out unless it is asked for', async () => {
    const { endpoint, spans } = await startReceiver();
    const content = {
      [contentAttributes.toolArguments]: 'private',
      [contentAttributes.inputMessages]: 'private',
      [attributes.toolName]: 't',
    };
    for (const captureContent of [false, true]) {
      const tracer = tracerTo(endpoint, { captureContent });
      const span = tracer.start('a', { attributes: content });
      span.setAttributes(content);
      span.recordError(new Error('private'));
      span.end();
      await tracer.close();
    }
    expect(JSON.stringify(spans[0])).not.toContain('private');
    expect(attributeOf(spans[0], 'error.type')).toEqual({ stringValue: 'Error' });
    expect(attributeOf(spans[1], 'gen_ai.tool.call.arguments')).toEqual({ stringValue: 'private' });
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

  it('gives up flushing after its bound when the receiver does not answer', async () => {
    const { endpoint } = await startReceiver({ status: 200, delayMs: 60_000 });
    const tracer = tracerTo(endpoint);
    tracer.start('a').end();
    const startedAt = performance.now();
    await tracer.close(300);
    expect(performance.now() - startedAt).toBeLessThan(5000);
  });

  it('says that spans are lost, once', async () => {
    const { endpoint } = await startReceiver({ status: 400 });
    const warnings: string[] = [];
    const logger: Logger = { ...silentLogger, warn: (_, message) => void warnings.push(message) };
    const tracer = tracerTo(endpoint, { logger });
    for (let index = 0; index < 3; index++) {
      tracer.start('a').end();
      await tracer.flush(5000);
    }
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

  it('does nothing on flush and close', async () => {
    tracer.start('a').end();
    await tracer.flush();
    await tracer.close();
  });
});
