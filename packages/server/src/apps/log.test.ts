import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { startServer } from '#llm/testing';

let dataDir: string;
const open: { close(): Promise<void> }[] = [];
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'nexus-test-'));
});
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
  await rm(dataDir, { recursive: true, force: true });
});

async function start(options: Parameters<typeof startTestPlatform>[0] = {}): Promise<TestPlatform> {
  const platform = await startTestPlatform({ dataDir, ...options });
  open.push(platform);
  return platform;
}

const lines = ({ logs }: TestPlatform, message: string) => logs.filter((line) => line.message === message);
/** Words that must stay out of every line. */
const secrets = ['secret-prompt', 'secret-key', 'secret-answer', 'secret-argument'];
const expectNoContent = ({ logs }: TestPlatform) => {
  for (const secret of secrets) expect(JSON.stringify(logs)).not.toContain(secret);
};

describe('the log', () => {
  it('says what a process runs on', async () => {
    await mkdir(join(dataDir, 'agents'));
    await writeFile(join(dataDir, 'agents', 'a.yaml'), 'name: a\nmodels: [far/m]\n');
    const platform = await start({
      config: {
        providers: {
          openai: { apiKey: 'secret-key' },
          compatible: [{ name: 'far', baseUrl: 'https://models.test/v1', models: ['m'] }],
        },
        proxy: { https: 'http://user:secret-key@proxy.test:3128' },
      },
    });
    expect(lines(platform, 'ready')).toMatchObject([
      {
        level: 'info',
        fields: {
          url: platform.url,
          database: `embedded in ${dataDir}`,
          bus: 'memory',
          agents: 1,
          policies: 0,
          providers: ['openai at api.openai.com through proxy.test:3128', 'far at models.test through proxy.test:3128'],
        },
      },
    ]);
    await expect
      .poll(() => lines(platform, 'models for those who do not choose'))
      .toMatchObject([{ fields: { models: ['openai/gpt-5-mini', 'far/m (no known price: state one under `prices`)'] } }]);
    expectNoContent(platform);
  });

  it('has a line for each failure of a provider and for the run that fails by them', async () => {
    const server = await startServer((_request, response) => void response.writeHead(503).end('{"error":{"message":"secret-answer"}}'));
    open.push(server);
    const compatible = [{ name: 'far', baseUrl: `${server.url}/v1`, models: ['m'] }];
    const platform = await start({ config: { providers: { compatible }, llm: { maxAttempts: 2, baseDelayMs: 0 } } });
    await platform.agent('a', { models: ['far/m'] });
    const runId = await platform.start({ agent: 'a', input: 'secret-prompt' });
    await platform.until(runId, 'failed');
    const failure = { runId, provider: 'far', model: 'm', code: 'provider_unavailable', status: 503 };
    expect(lines(platform, 'a provider failed').map(({ fields }) => fields)).toMatchObject([
      { ...failure, attempt: 1 },
      { ...failure, attempt: 2 },
    ]);
    expect(lines(platform, 'run failed')).toMatchObject([
      { level: 'warn', fields: { runId, code: 'provider_unavailable', resumable: true } },
    ]);
    expectNoContent(platform);
  });

  it('has a line for each denial by policy and by budget', async () => {
    const platform = await start();
    await platform.agent('a', { policy: { allow: [] } });
    const runId = await platform.complete({
      agent: 'a',
      input: '[[sim tools=fs_write(path="secret-argument",content="x")]] [[sim say="secret-answer"]]',
    });
    expect(lines(platform, 'policy denied')).toMatchObject([
      { fields: { runId, action: 'tool.execute', decisionId: expect.stringMatching(/^dec_/) } },
    ]);
    await expect(platform.start({ input: 'secret-prompt', budget: { tokens: 10 } })).rejects.toThrow('402');
    expect(lines(platform, 'a budget refused')).toMatchObject([{ fields: { unit: 'tokens', scope: 'run' } }]);
    expectNoContent(platform);
  });

  it('has a line for each request that is not let in', async () => {
    const platform = await start();
    const key = await platform.key(['runs']);
    await fetch(`${platform.url}/v1/runs?input=secret-prompt`, { headers: { authorization: 'Bearer nx_secret-key_x' } });
    await fetch(`${platform.url}/v1/keys`, { headers: { authorization: `Bearer ${key}` } });
    expect(lines(platform, 'a request was refused')).toMatchObject([
      { level: 'warn', fields: { code: 'unauthenticated', method: 'GET', route: '/v1/runs', from: '127.0.0.1' } },
      { level: 'warn', fields: { code: 'forbidden', method: 'GET', route: '/v1/keys', by: expect.stringMatching(/^key_/) } },
    ]);
    expect(JSON.stringify(platform.logs)).not.toContain(key);
    expectNoContent(platform);
  });

  it('tells that a run was handed over at shutdown and taken over by another process', async () => {
    const first = await start();
    const runId = await first.start({ input: 'secret-prompt', model: 'sim/sim-large?stall=2' });
    await first.until(runId, 'running');
    await first.close();
    open.splice(0);
    expect([lines(first, 'draining'), lines(first, 'drained')]).toMatchObject([[{ level: 'info' }], [{ level: 'info' }]]);
    const second = await start();
    await expect.poll(() => lines(second, 'run taken over'), { timeout: 15_000 }).toMatchObject([{ fields: { runId } }]);
    expectNoContent(second);
  });
});

describe('a process that drains', () => {
  it('says so at /readyz while its port is still open, and takes no work', async () => {
    const platform = await startTestPlatform({ dataDir, config: { drainMs: 1_500 } });
    const runId = await platform.start({ input: '[[sim say="hello there" tokens=40]]', model: 'sim/sim-large?tokensPerSecond=40' });
    await platform.until(runId, 'running');
    const ask = (path: string, init: RequestInit = {}) => fetch(platform.url + path, { ...init, headers: { connection: 'close' } });
    expect((await ask('/readyz')).status).toBe(200);
    const closed = platform.close();
    expect((await ask('/readyz')).status).toBe(503);
    expect((await ask('/healthz')).status).toBe(200);
    const refused = await ask('/v1/runs', { method: 'POST' });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    await closed;
    await expect(ask('/readyz')).rejects.toThrow();
  });
});
