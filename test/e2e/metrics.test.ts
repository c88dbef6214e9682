import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { DecisionRecord, RunId } from '@nexus-agent/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createIdSource, systemClock } from '../../packages/server/src/core/index.ts';
import { startTestServer, type TestServer, tenant } from './support/server.ts';
import { readStream } from './support/stream.ts';

/** The table of the page about them. */
const documented = readFileSync(join(import.meta.dirname, '../../docs/metrics.md'), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const [, name, kind = '', labels = ''] = /^\| `(\w+)` \| ([\w, ]+) \| ([^|]*)\|/.exec(line) ?? [];
    return name === undefined
      ? []
      : [{ name, kind: kind.split(',')[0], labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label) }];
  });

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({
    config: {
      ...{ runs: { maxLiveRuns: 2 }, sandbox: { maxThreads: 1, spareThreads: 1, wallMs: 3_000, fuel: 10_000_000 } },
      httpFetch: { allowPrivate: ['127.0.0.1'] },
    },
  });
  await server.agent('free');
  await server.agent('asking', { policy: { approve: ['fs_list'] } });
});
afterAll(() => server.close());

const scrape = async (): Promise<string> => (await server.call('GET', '/metrics')).body;

/** Every sample: a metric's sum over its labels; of a histogram how often it was observed. */
function sums(body: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of body.split('\n')) {
    const [, name = '', value] = /^(\w+)(?:\{[^}]*\})? (\S+)$/.exec(line) ?? [];
    if (value === undefined || name.endsWith('_bucket') || name.endsWith('_sum')) continue;
    const plain = name.replace(/_count$/, '');
    found.set(plain, (found.get(plain) ?? 0) + Number(value));
  }
  return found;
}

it('has a page that names every metric with its kind and labels, and no other [verifies metrics.documented]', async () => {
  const body = await scrape();
  const kinds = new Map([...body.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, kind]) => [name, kind]));
  expect(documented.map(({ name, kind }) => [name, kind]).sort()).toEqual([...kinds].sort());
});

if (spawnSync('promtool', ['--version']).status !== 0)
  it.skip('not run: promtool is not there, which comes with Prometheus', () => undefined);
else
  it('is taken by the checks of Prometheus without a word', async () => {
    const { stdout, stderr, status } = spawnSync('promtool', ['check', 'metrics'], { input: await scrape(), encoding: 'utf8' });
    expect([stdout, stderr, status]).toEqual(['', '', 0]);
  });

it('no page of the documentation names a metric that there is not [verifies metrics.documented]', () => {
  const known = new Set(documented.map(({ name }) => name));
  const folder = join(import.meta.dirname, '../../docs');
  for (const page of readdirSync(folder).filter((name) => name.endsWith('.md'))) {
    const text = readFileSync(join(folder, page), 'utf8');
    const named = [...text.matchAll(/\b(?:nexus|http|gen_ai)_[a-z_]+_(?:total|seconds|bytes|ratio|waiting|usage)\b/g)].map(
      ([name]) => name,
    );
    expect({ page, unknown: named.filter((name) => !known.has(name)) }).toEqual({ page, unknown: [] });
  }
});

it('shows each of them move when its thing happens, of all tenants [verifies metrics.move]', async () => {
  const before = sums(await scrape());
  const moved = new Set<string>();
  const bodies: string[] = [];
  /** Notes what has moved since the beginning. */
  const look = async () => {
    const body = await scrape();
    bodies.push(body);
    for (const [name, value] of sums(body)) if (value !== (before.get(name) ?? 0)) moved.add(name);
    return body;
  };

  await readStream(`${server.app.url}/v1/agents/chat/stream`, { body: { agent: 'free', input: '[[sim tools=fs_list()]] done' } });
  await server.finish({ agent: 'free', input: '[[sim say="x" finish=content_filter]]' });
  await server.call('GET', '/v1/runs', undefined, { authorization: 'Bearer nx_no_such-key-at-all' });
  await server.call('GET', '/v1/runs', undefined, { origin: 'https://elsewhere.example' });

  // Another tenant's question and limit are seen, too.
  const scopes = ['runs', 'approvals', 'admin'];
  const { secret } = (await server.call('POST', '/v1/keys', { name: 'guest', tenant: 'guest', scopes, roles: ['own-approvals'] })).body;
  const guest = (method: string, path: string, body?: unknown) => server.call(method, path, body, { authorization: `Bearer ${secret}` });
  await guest('POST', '/v1/agents', { name: 'asking', models: ['sim/sim-large'], tools: ['*'], policy: { approve: ['fs_list'] } });
  const asked = (await guest('POST', '/v1/runs', { agent: 'asking', input: '[[sim tools=fs_list()]] done' })).body.id;
  await expect.poll(async () => (await guest('GET', `/v1/runs/${asked}`)).body.status).toBe('waiting');
  await guest('PUT', '/v1/budgets', { scope: { kind: 'user', id: 'ann' }, unit: 'toolCalls', limit: 0 });
  const asking = await look();
  expect(asking).toContain('nexus_approvals_waiting 1');
  expect(asking).toContain('nexus_runs{status="waiting"} 1');
  expect(asking).toContain('nexus_budget_limits{scope="user",unit="toolCalls",used="exhausted"} 1');
  expect(asking).toContain('nexus_budget_utilization_ratio{scope="user",unit="toolCalls"} 1');
  const [approval] = (await guest('GET', '/v1/approvals')).body.data;
  await guest('POST', `/v1/approvals/${approval.id}`, { decision: 'approve' });
  await expect.poll(async () => (await guest('GET', `/v1/runs/${asked}`)).body.status).toBe('completed');

  // A reader of a run that takes its time, with more runs behind it than there is room for.
  await server.agent('slow', { models: ['sim/sim-large?latencyMs=600'] });
  const reading = new AbortController();
  const [first = ''] = await Promise.all(Array.from({ length: 4 }, () => server.start({ agent: 'slow', input: 'hello' })));
  const read = readStream(`${server.app.url}/v1/runs/${first}/events`, {
    headers: { accept: 'text/event-stream' },
    signal: reading.signal,
  });
  await expect.poll(look).toMatch(/^nexus_queue_depth [1-9]/m);
  await expect.poll(look).toMatch(/^nexus_streams_open 1$/m);
  reading.abort();
  await read.catch(() => undefined);
  await expect.poll(look, { timeout: 10_000 }).toMatch(/^nexus_queue_depth 0$/m);

  // Programs that wait for a thread.
  const busy = 'code_js(code="for (;;);")';
  const computing = await server.start({ agent: 'free', input: `[[sim tools=${busy},${busy},${busy}]] done` });
  await expect.poll(look, { timeout: 10_000 }).toMatch(/^nexus_turns_waiting\{queue="sandbox"\} [1-9]/m);
  await server.until(computing, 'completed');

  // A tool reaches a server outside, whose connection is counted once it is closed.
  const outside = createServer((_request, response) => response.end('hello')).listen(0, '127.0.0.1');
  await once(outside, 'listening');
  const { port } = outside.address() as AddressInfo; // it listens on TCP
  await server.agent('reaching', { policy: { allow: ['http_fetch', 'net:127.0.0.1'] } });
  await server.finish({ agent: 'reaching', input: `[[sim tools=http_fetch(url="http://127.0.0.1:${port}/")]] done` });
  outside.closeAllConnections();
  outside.close();
  await expect.poll(look).toMatch(/^nexus_tool_egress_bytes_total\{source="http_fetch",direction="received"\} [1-9]/m);

  // A process dies: its run is known to have been lost for a while when it goes on here.
  const { run } = await server.finish({ agent: 'free', input: 'hello' });
  const [created, started] = await server.events(run.id);
  if (created?.type !== 'run.created' || started?.type !== 'run.started') throw new Error('a run begins in another way');
  const row = await server.app.store.getRun(tenant, run.id as RunId); // the id of a run
  if (row === null) throw new Error('the run is gone');
  const runId = createIdSource(systemClock).next<RunId>('run');
  await server.app.store.heartbeat('ghost', 100);
  await server.app.store.commit({
    tenantId: tenant,
    createRun: { ...row, runId, status: 'running', leaseOwner: 'ghost', epoch: 1, lastSeq: 0, output: null, step: 0 },
    events: [
      { type: 'run.created', data: created.data },
      { type: 'run.started', data: { workerId: 'ghost', epoch: 1 } },
    ],
  });
  await server.until(runId, 'completed');
  const recovered = await look();
  expect(recovered).toContain('nexus_run_recovery_seconds_count 1');
  expect(Number(/^nexus_run_recovery_seconds_sum (\S+)$/m.exec(recovered)?.[1])).toBeLessThan(3);

  // A row that knows of an earlier epoch than whoever drives it went back.
  const ahead = { runId, epoch: 99, owner: 'ghost', lastSeq: 0, patch: {} };
  await expect(server.app.store.commit({ tenantId: tenant, run: ahead })).rejects.toThrow('run_epoch');
  expect(await look()).toContain('nexus_invariant_violations_total{invariant="run_epoch"} 1');

  // What is older than it is kept is deleted.
  const at = Date.now() - 400 * 86_400_000;
  const record: DecisionRecord = {
    id: 'old',
    effect: 'allow',
    principal: 'p',
    action: 'run.start',
    resource: 'x',
    reasons: [],
    policyVersion: 'v',
  };
  await server.app.store.commit({ tenantId: tenant, decisions: [{ ...record, runId: null, callId: null, argumentsHash: null, at }] });
  await server.call('POST', '/v1/retention/prune');
  expect(await look()).toContain('nexus_retention_deleted_total{kind="decisions"} 1');

  /** These are what they are, whatever happens. */
  const constant = ['nexus_build_info', 'nexus_process_start_time_seconds', 'nexus_database_up', 'nexus_database_connections'];
  for (const { name, labels } of documented) {
    if (constant.includes(name)) expect(before.get(name), name).toBeGreaterThan(0);
    else expect([...moved], name).toContain(name);
    const samples = bodies.flatMap((body) => [...body.matchAll(new RegExp(`^${name}(?:_bucket|_count)?\\{([^}]*)\\}`, 'gm'))]);
    const shown = new Set(samples.flatMap(([, text = '']) => [...text.matchAll(/(\w+)="/g)].map(([, label]) => label)));
    shown.delete('le');
    expect([...shown].sort(), name).toEqual([...labels].sort());
  }
  expect(bodies.at(-1)).toMatch(/^nexus_auth_failures_total\{error_type="unauthenticated"\} 1$/m);
  expect(bodies.at(-1)).toMatch(/^nexus_auth_failures_total\{error_type="origin_not_allowed"\} 1$/m);
  // Nothing in them tells who works, or on what.
  for (const secretWord of ['guest', 'ann', asked, run.id, run.sessionId]) expect(bodies.join('\n')).not.toContain(`"${secretWord}"`);
});

it('answers while the database does not, and says so', async () => {
  const faulty = await startTestServer();
  await faulty.app.store.close();
  const { status, body } = await faulty.call('GET', '/metrics');
  expect(status).toBe(200);
  expect(body).toContain('nexus_database_up 0');
  expect(body).not.toMatch(/^nexus_approvals_waiting /m);
  await faulty.close().catch(() => undefined); // its database is closed already
});
