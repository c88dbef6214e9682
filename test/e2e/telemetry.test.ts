import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startSimulator } from '../../packages/server/src/llm/sim/index.ts';
import { one, pause, startTestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly attributes: readonly { readonly key: string; readonly value: Record<string, unknown> }[];
}

/** A collector that takes OTLP over HTTP as JSON and keeps every span. */
const spans: ReceivedSpan[] = [];
let collector: Server;
let endpoint = '';
const dataDir = mkdtempSync(join(tmpdir(), 'nexus-traces-'));

beforeAll(async () => {
  collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString());
      for (const resource of body.resourceSpans) for (const scope of resource.scopeSpans) spans.push(...scope.spans);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`; // it listens on TCP
});
afterAll(async () => {
  await new Promise((resolve) => collector.close(resolve));
  rmSync(dataDir, { recursive: true, force: true });
});

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const secret = 'the password is opensesame';

it('sends one trace through request, run, steps, model and tools, which goes on in the next process [verifies telemetry.trace.tree telemetry.quiet]', async () => {
  const config = { otlp: { endpoint } };
  const probe = createProbe();
  const simulator = await startSimulator();
  const first = await startTestServer({ dataDir, config, tools: probe.tools, simulator });
  await first.agent('traced', { policy: { allow: ['probe'], approve: ['send'] } });
  const input = `${secret} [[sim tools=probe(label="a"),probe(label="b")]] [[sim tools=send(label="c")]] [[sim say="done"]]`;
  const { body } = await first.call('POST', '/v1/runs', { agent: 'traced', input }, { traceparent: `00-${traceId}-00f067aa0ba902b7-01` });
  await first.until(body.id, 'waiting');
  const { approvalId } = one(await first.events(body.id), 'approval.requested').data;
  await first.close();

  const second = await startTestServer({ dataDir, config, tools: probe.tools, simulator });
  await second.call('POST', `/v1/approvals/${approvalId}`, { decision: 'approve' });
  const run = await second.until(body.id, 'completed');
  expect(run.traceId).toBe(traceId);
  await second.close();
  await simulator.close();
  for (let waited = 0; spans.filter((span) => span.name.startsWith('chat')).length < 3 && waited < 5_000; waited += 50) await pause(50);

  const ours = spans.filter((span) => span.traceId === traceId);
  const byId = new Map(ours.map((span) => [span.spanId, span]));
  const parentName = (span: ReceivedSpan) => byId.get(span.parentSpanId ?? '')?.name ?? 'the request';
  const edges = ours.map((span) => `${parentName(span)} > ${span.name}`).sort();
  expect(edges).toEqual([
    'invoke_agent traced > invoke_agent traced',
    'invoke_agent traced > step',
    'invoke_agent traced > step',
    'invoke_agent traced > step',
    'invoke_agent traced > step',
    'step > chat sim-large',
    'step > chat sim-large',
    'step > chat sim-large',
    'step > execute_tool probe',
    'step > execute_tool probe',
    'step > execute_tool send',
    'the request > invoke_agent traced',
  ]);
  expect(new Set(ours.map((span) => span.spanId)).size).toBe(ours.length);
  const model = ours.find((span) => span.name === 'chat sim-large');
  expect(Object.fromEntries((model?.attributes ?? []).map(({ key, value }) => [key, Object.values(value)[0]]))).toMatchObject({
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'sim',
    'gen_ai.request.model': 'sim-large',
  });
  expect(JSON.stringify(spans)).not.toContain('opensesame');
});

it('counts runs, calls, decisions and budgets on /metrics without an id in any label [verifies telemetry.metrics]', async () => {
  const probe = createProbe();
  const server = await startTestServer({ tools: probe.tools });
  try {
    await server.agent('counted', { policy: { allow: ['probe'] } });
    await server.finish({ agent: 'counted', input: '[[sim tools=probe(label="a"),broken(label="b")]] [[sim say="done"]]' });
    await server.finish({ agent: 'counted', input: 'hello', model: 'sim/sim-large?cut=2' });
    const { body } = await server.call('GET', '/metrics');
    const value = (pattern: RegExp) => Number(pattern.exec(body)?.[1]);
    expect(value(/nexus_runs_started_total (\d+)/)).toBe(2);
    expect(value(/nexus_runs_finished_total\{status="completed"[^}]*\} (\d+)/)).toBe(1);
    expect(value(/nexus_runs_finished_total\{status="failed",error_type="provider_stream_cut"\} (\d+)/)).toBe(1);
    expect(value(/nexus_policy_decisions_total\{action="tool.execute",effect="deny"\} (\d+)/)).toBe(1);
    expect(value(/nexus_policy_decisions_total\{action="tool.execute",effect="allow"\} (\d+)/)).toBe(1);
    expect(value(/nexus_budget_operations_total\{operation="reserved"\} (\d+)/)).toBe(4);
    expect(body).toMatch(/event_?loop/);
    expect(body).not.toMatch(/(run|ses|call|rsv|wrk|dec)_[0-9a-z]{26}/);
  } finally {
    await server.close();
  }
});
