import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databases, pause, startVictim, type Victim } from './support/victim.ts';

const program = new URL('./support/killer.ts', import.meta.url).pathname;
const runs = { leaseMs: 1000, heartbeatMs: 200, pollMs: 100, aloneMs: 2000 };
const bystander = { agent: 'helper', input: '[[sim tools=slow()]] [[sim tools=slow()]] [[sim say="done"]]' };

/** Starts the server again whenever it died, until the runs have ended; gives how often that was. */
async function endDespiteDeaths(victim: Victim, ids: readonly string[]) {
  let deaths = 0;
  for (const endAt = performance.now() + 120_000; performance.now() < endAt; await pause(50)) {
    if (victim.exited() !== null) {
      deaths += 1;
      await victim.restart();
    }
    const rows = await Promise.all(ids.map((id) => victim.call('GET', `/v1/runs/${id}`))).catch(() => null);
    if (rows?.every(({ body }) => ['completed', 'failed', 'cancelled'].includes(body.status)))
      return { deaths, rows: rows.map(({ body }) => body) };
  }
  throw new Error(`the runs do not end; the server died ${deaths} times: ${victim.output().slice(-3_000)}`);
}

describe.each(await databases())('a run that kills its process, on %s', (database) => {
  let victim: Victim;
  beforeAll(async () => {
    victim = await startVictim({ database, program, config: { runs } });
    await victim.agent('helper');
  }, 60_000);
  afterAll(() => victim.close());

  it.each(['kill_exit', 'kill_abort', 'kill_signal', 'kill_timer', 'kill_promise'])(
    'by %s ends as poisonous after three deaths, and 20 others complete [verifies hostile.kill.poisonous]',
    async (tool) => {
      const others = await Promise.all(Array.from({ length: 20 }, () => victim.start(bystander)));
      const killer = await victim.start({ agent: 'helper', input: `[[sim tools=${tool}()]] [[sim say="never"]]` });
      const { deaths, rows } = await endDespiteDeaths(victim, [killer, ...others]);
      expect(rows[0]).toMatchObject({ status: 'failed', resumable: true, error: { code: 'poisonous', details: { deaths: 3 } } });
      expect(rows.slice(1).map(({ status }) => status)).toEqual(others.map(() => 'completed'));
      expect(deaths).toBe(3);
      // A person who resumes it risks one process, not three.
      expect((await victim.call('POST', `/v1/runs/${killer}/resume`)).status).toBeLessThan(300);
      await expect.poll(() => victim.exited(), { timeout: 20_000 }).not.toBeNull();
      await victim.restart();
      const again = await endDespiteDeaths(victim, [killer]);
      expect(again).toMatchObject({ deaths: 0, rows: [{ status: 'failed', error: { code: 'poisonous' } }] });
    },
    180_000,
  );

  it('says what killed it, under an id and without secrets [verifies hostile.kill.last-words]', async () => {
    const run = await victim.start({ agent: 'helper', input: '[[sim tools=kill_promise()]]' });
    await expect.poll(() => victim.exited(), { timeout: 20_000 }).toEqual({ code: 1, signal: null });
    const line = victim
      .output()
      .split('\n')
      .find((each) => each.includes('nobody caught this error'));
    expect(JSON.parse(line ?? '{}')).toMatchObject({
      level: 'error',
      origin: 'unhandledRejection',
      errorId: expect.stringMatching(/^err_/),
    });
    expect(victim.output()).not.toContain('hunter2hunter2');
    await victim.restart();
    await endDespiteDeaths(victim, [run]);
  }, 120_000);
});

describe.each(await databases())('a server whose models read pages of others, on %s', (database) => {
  let victim: Victim;
  let answer: (name: string) => Readonly<Record<string, string>> = () => ({});
  const page = createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html', ...answer(request.url?.slice(1) ?? '') });
    response.end('<p>&constructor;&valueOf;&toString; a page</p>');
  });
  beforeAll(async () => {
    await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve));
    const { port } = page.address() as AddressInfo;
    victim = await startVictim({ database, config: { httpFetch: { allowPrivate: [`127.0.0.1:${port}`] } } });
    await victim.agent('reader');
  }, 60_000);
  afterAll(async () => {
    await victim.close();
    page.close();
  });

  const inherited = Object.getOwnPropertyNames(Object.prototype);

  it('lives through every name that an object inherits, as an encoding and as a type [verifies hostile.kill.names]', async () => {
    const { port } = page.address() as AddressInfo;
    for (const header of ['content-encoding', 'content-type', 'transfer-encoding-of']) {
      answer = (name) => ({ [header]: name });
      const ids = await Promise.all(
        inherited.map((name) =>
          victim.start({
            agent: 'reader',
            input: `[[sim tools=http_fetch(url="http://127.0.0.1:${port}/${name}")]] [[sim say="{{result}}"]]`,
          }),
        ),
      );
      for (const id of ids) {
        const run = await victim.end(id);
        expect(run.status).toBe('completed');
        expect(run.output).not.toMatch(/native code|\[object/);
      }
    }
    expect(victim.exited()).toBeNull();
  }, 60_000);

  it('lives through them as names of everything that a request can name [verifies hostile.kill.names]', async () => {
    for (const name of inherited) {
      const requests = [
        victim.call('GET', `/v1/runs/${name}`),
        victim.call('GET', `/v1/runs?status=${name}`),
        victim.call('GET', `/v1/runs?${name}=1`),
        victim.call('GET', `/v1/usage?by=${name}`),
        victim.call('GET', `/v1/agents/${name}`),
        victim.call('POST', `/v1/tools/${name}/call`, { input: {} }),
        victim.call('POST', '/v1/runs', { agent: name, input: 'x' }),
        victim.call('POST', '/v1/runs', { input: 'x', whileBusy: name }),
        victim.call('POST', '/v1/runs', `{"input":"x","${name}":{"a":1}}`),
        victim.call('POST', '/v1/agents', { name: 'named', models: [name, `${name}/${name}`], tools: [name] }),
        victim.call('POST', '/v1/chat/completions', { model: name, messages: [{ role: name, content: [{ type: name }] }] }),
        victim.call('POST', '/v1/messages', { model: name, max_tokens: 5, messages: [{ role: 'user', content: [{ type: name }] }] }),
        victim.call(name.toUpperCase().replaceAll(/[^A-Z]/g, ''), '/v1/runs').catch(() => ({ status: 400 })),
        victim.call('GET', '/v1/sessions', undefined, { [name]: name, 'last-event-id': name, accept: name, traceparent: name }),
      ];
      for (const { status } of await Promise.all(requests)) expect(status).toBeLessThan(500);
    }
    expect(victim.exited()).toBeNull();
  }, 60_000);

  it('lives through a schema that answers with a promise, now and after a restart [verifies hostile.kill.schema]', async () => {
    const definition = { name: 'later', models: ['sim/sim-large'], outputSchema: { $async: true, type: 'object', required: ['x'] } };
    const stored = await victim.call('POST', '/v1/agents', definition);
    if (stored.status < 300) {
      const id = await victim.start({ agent: 'later', input: '[[sim say="{}"]]' });
      expect((await victim.end(id)).status).toBe('failed');
    } else expect(stored.body).toMatchObject({ status: 400 });
    await victim.restart();
    await pause(1_000);
    expect(victim.exited()).toBeNull();
  }, 60_000);
});
