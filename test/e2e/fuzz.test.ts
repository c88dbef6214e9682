import { afterAll, beforeAll, expect, it } from 'vitest';
import { all, pause, startTestServer, type TestServer, tenant } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const probe = createProbe();
let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ tools: probe.tools, models: { 'sim/sim-small': { contextTokens: 9_000 } } });
  const models = ['sim/sim-large?tokensPerSecond=400', 'sim/sim-flaky', 'sim-anthropic/sim-large?cut=2&times=1', 'sim/sim-down'];
  for (const [index, model] of models.entries()) {
    await server.agent(`helper${index}`, { models: [model, 'sim/sim-small'], approvalTimeoutMs: 1_500 });
    await server.agent(`fuzzed${index}`, {
      models: [model, 'sim-anthropic/sim-large'],
      subagents: ['helper0', 'helper1', 'helper3'],
      maxParallelTools: 1 + index,
      maxSteps: 5,
      approvalTimeoutMs: 1_500,
      policy: { allow: ['*'], approve: ['costly'], deny: index === 2 ? ['broken'] : [] },
    });
  }
});
afterAll(() => server.close());

/** Numbers below `n` that follow from the seed. */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * below);
  };
}

function randomTask(chance: (below: number) => number, depth = 0): string {
  const call = (): string => {
    const waitMs = chance(3) === 0 ? chance(150) : 0;
    const plain = [
      `probe(waitMs=${waitMs})`,
      'broken()',
      'costly()',
      `send(waitMs=${chance(2) * 400})`,
      'ask_human(question="?")',
      'nothing()',
      'probe!("{")',
    ];
    const choice = chance(plain.length + (depth === 0 ? 2 : 0));
    if (choice < plain.length) return plain[choice] ?? '';
    const cost = chance(2) === 0 ? '' : `,maxCostMicroUsd=${chance(40_000) + 1}`;
    return `agent_helper${[0, 1, 3][chance(3)]}(task=${JSON.stringify(randomTask(chance, depth + 1))}${cost})`;
  };
  const turns = Array.from(
    { length: chance(4) },
    () => `[[sim think="hm" tools=${Array.from({ length: 1 + chance(4) }, call).join(',')}]]`,
  );
  return `${turns.join(' ')} [[sim say="the end of it" tokens=${1 + chance(30)}]]`;
}

it('ends every run in a stated way with balanced books, whatever people and providers do [verifies durability.replay.same-state budget.invariants]', async () => {
  const chance = dice(20_260_101);
  const sessionId = await server.session({ agent: 'fuzzed0', budget: { toolCalls: 120, costMicroUsd: 3_000_000 } });
  const ours: string[] = [];
  for (let index = 0; index < 60; index++) {
    const { status, body } = await server.call('POST', '/v1/runs', {
      agent: `fuzzed${chance(4)}`,
      input: randomTask(chance),
      ...(chance(2) === 0 ? { sessionId } : {}),
      whileBusy: index % 2 === 0 ? 'parallel' : 'queue',
      ...(chance(4) === 0 ? { deadlineMs: 100 + chance(1_500) } : {}),
      ...(chance(4) === 0 ? { budget: { tokens: 4_000 + chance(30_000), toolCalls: chance(8) } } : {}),
    });
    expect([202, 402]).toContain(status);
    if (status === 202) ours.push(body.id);
  }
  const unfit: unknown[] = [];
  const post = async (path: string, body: unknown, allowed: number[]) => {
    const answer = await server.call('POST', path, body);
    if (!allowed.includes(answer.status)) unfit.push({ path, body, answer: answer.body });
  };
  const live = async () => {
    for (const status of ['running', 'waiting', 'queued']) {
      const { data } = (await server.call('GET', `/v1/runs?limit=20&status=${status}`)).body;
      if (data.length > 0) return data[chance(data.length)].id;
    }
    return null;
  };
  // By number, not by time: what is seen must not depend on how busy the machine is.
  for (let turn = 0; turn < 240; turn++) {
    const id = ours[chance(ours.length)] ?? '';
    const approvals = (await server.call('GET', '/v1/approvals?status=pending&limit=20')).body.data;
    const approval = approvals[chance(Math.max(1, approvals.length))];
    if (approval !== undefined) {
      const decision = approval.choices[chance(approval.choices.length)];
      const result = decision === 'answer' || decision === 'done' ? { result: 'so be it' } : {};
      await post(`/v1/approvals/${approval.id}`, { decision, ...result }, [200, 409]);
    }
    const cancelled = chance(12) === 0 ? await live() : null;
    if (cancelled !== null) await post(`/v1/runs/${cancelled}/cancel`, {}, [200]);
    if (chance(4) === 0) await post(`/v1/runs/${id}/resume`, {}, [202, 409]);
    if (chance(12) === 0) await post(`/v1/runs/${id}/fork`, { input: randomTask(chance) }, [202]);
    if (chance(10) === 0) {
      const set = { scope: { kind: 'session', id: sessionId }, unit: 'toolCalls', limit: 120 + chance(200) };
      await server.call('PUT', '/v1/budgets', set);
    }
    await pause(5);
  }
  expect(unfit).toEqual([]);

  // What people no longer answer takes its default; everything comes to an end.
  const open = async () => {
    const lists = await Promise.all(
      ['queued', 'running', 'waiting'].map((status) => server.call('GET', `/v1/runs?limit=200&status=${status}`)),
    );
    return lists.flatMap(({ body }) => body.data.map((run: { id: string; status: string }) => `${run.id} ${run.status}`));
  };
  await expect.poll(open, { timeout: 12_000, interval: 100 }).toEqual([]);
  await server.verifyRuns();
  expect(await server.app.store.listReservations(tenant, { state: 'open' })).toEqual([]);

  const seen = new Set<string>();
  for (const run of (await server.call('GET', '/v1/runs?limit=200')).body.data) {
    const events = await server.events(run.id);
    for (const event of events) seen.add(event.type);
    // Whatever was reserved was settled once.
    const reserved = all(events, 'budget.reserved').map(({ data }) => data.reservationId);
    const settled = all(events, 'budget.settled').map(({ data }) => data.reservationId);
    expect([...settled].sort(), run.id).toEqual([...reserved].sort());
    if (run.status === 'failed') expect(run.error.code, JSON.stringify(run.error)).not.toBe('internal');
  }
  for (const type of [
    'run.completed',
    'run.failed',
    'run.cancelled',
    'run.resumed',
    'budget.refused',
    'route.fallback',
    'approval.decided',
    'policy.denied',
  ])
    expect(seen).toContain(type);
}, 80_000);
