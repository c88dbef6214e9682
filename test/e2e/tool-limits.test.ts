import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { startTestServer, type TestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let server: TestServer;
let api: Server;
let baseUrl: string;
let reached = 0;
let isDown = true;

beforeAll(async () => {
  api = createServer((request, response) => {
    reached += 1;
    if (isDown) request.socket.destroy();
    else response.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true}');
  });
  await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
  const { port } = api.address() as AddressInfo; // it listens on a port
  baseUrl = `http://127.0.0.1:${port}`;
  server = await startTestServer({
    tools: probe.tools,
    config: {
      httpFetch: { allowPrivate: [`127.0.0.1:${port}`] },
      tools: {
        limits: {
          probe: { concurrency: 2, queueMs: 300 },
          'shop_*': { breaker: { failures: 2, openMs: 700 } },
        },
      },
    },
  });
  await server.agent('busy', { tools: ['probe', 'shop_*'], policy: { allow: ['probe', 'shop_*', 'net:127.0.0.1'] } });
});
afterAll(async () => {
  await server.close();
  api.closeAllConnections();
  await new Promise((resolve) => api.close(resolve));
});

const execute = async (tool: string, sessionId: string, input: object = {}) =>
  (await server.call('POST', `/v1/tools/${tool}/execute`, { sessionId, input })).body;

/** The value of a series of /metrics. */
async function metric(series: string): Promise<number> {
  const text = await (await fetch(`${server.app.url}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1) ?? 0);
}

describe('limits of a tool', () => {
  it('let so many calls in, and what got no turn costs nothing [verifies tools.limits.concurrency tools.metrics]', async () => {
    const sessionId = await server.session({ agent: 'busy', budget: { toolCalls: 2 } });
    const other = await server.session({ agent: 'busy' });
    const long = [execute('probe', other, { waitMs: 1_200 }), execute('probe', other, { waitMs: 1_200 })];
    await expect.poll(() => probe.running).toBe(2);
    for (let index = 0; index < 3; index += 1) {
      const refused = await execute('probe', sessionId);
      expect(refused).toMatchObject({ status: 'error', error: { code: 'rate_limited', retryable: true } });
      expect(refused.error.message).toMatch(/calls of probe .* did not begin/);
    }
    expect((await Promise.all(long)).map(({ status }) => status)).toEqual(['ok', 'ok']);
    expect(probe.mostRunning).toBe(2);
    // Its budget has two calls, and none was spent.
    for (let index = 0; index < 2; index += 1) expect(await execute('probe', sessionId)).toMatchObject({ status: 'ok' });
    const counted = 'gen_ai_tool_name="probe",tier="host",source="program"';
    expect(await metric(`nexus_tool_calls_total{${counted},outcome="refused",error_type="rate_limited"}`)).toBe(3);
    expect(await metric(`nexus_tool_calls_total{${counted},outcome="completed",error_type=""}`)).toBe(4);
    expect(await metric('nexus_tool_limits_total{limit="queue"}')).toBe(3);
    expect(await metric('nexus_turn_wait_seconds_count{queue="tools",outcome="timed_out"}')).toBe(3);
    expect(await metric('nexus_turns_waiting{queue="tools"}')).toBe(0);
  });

  it('leave an API alone that is down, and find it again [verifies tools.limits.breaker tools.metrics]', async () => {
    const tools = ['shop_find', 'shop_list'].map((name) => ({ name, description: 'of a shop', path: `/${name}`, retries: 0 }));
    expect((await server.call('PUT', '/v1/tool-sources/http/shop', { name: 'shop', baseUrl, tools })).status).toBeLessThan(300);
    const sessionId = await server.session({ agent: 'busy' });
    for (let index = 0; index < 2; index += 1)
      expect(await execute('shop_find', sessionId)).toMatchObject({ error: { code: 'tool_failed', details: { reason: 'connection' } } });
    const before = reached;
    const refused = await execute('shop_find', sessionId);
    expect(refused).toMatchObject({ error: { code: 'tool_unavailable', retryable: true, details: { failures: 2 } } });
    expect(refused.error.message).toMatch(/shop_find failed 2 times in a row .* in 1 s/);
    expect(reached).toBe(before);
    expect(await execute('shop_list', sessionId)).toMatchObject({ error: { code: 'tool_failed' } }); // another tool, another breaker
    isDown = false;
    await expect.poll(async () => (await execute('shop_find', sessionId)).status, { timeout: 5_000 }).toBe('ok');
    expect(await execute('shop_find', sessionId)).toMatchObject({ status: 'ok' });
    expect(await metric('nexus_tool_limits_total{limit="breaker"}')).toBeGreaterThan(0);
    expect(await metric('nexus_tool_egress_connections_total{source="http_tools"}')).toBeGreaterThan(4);
    expect(await metric('nexus_tool_egress_bytes_total{source="http_tools",direction="received"}')).toBeGreaterThan(100);
  });

  it('are refused with what is wrong and where, when they are none [verifies tools.limits.settings]', () => {
    const limits = (given: object) => () => resolveConfig({ env: {}, flags: { tools: { limits: given } } as never }); // wrong on purpose
    expect(limits({ probe: { concurrency: 0 } })).toThrow(/tools\.limits.*probe.*concurrency/s);
    expect(limits({ probe: { breaker: { failure: 3 } } })).toThrow(/tools\.limits/);
    expect(limits({ 'a b': {} })).toThrow(/tools\.limits.*name of a tool, or a pattern/s);
  });
});
