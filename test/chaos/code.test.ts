import { AgentDefinition, type JournalEvent } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { auditBooks, journalOf, runOf } from './audit.ts';
import { answerApproval, pendingApprovals } from './client.ts';
import { type Cluster, until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';

const coder = AgentDefinition.parse({
  name: 'coder',
  instructions: 'Do as you are told.',
  models: ['sim/sim-large'],
  tools: ['probe_*', 'code_js', 'ask_human'],
  policy: { allow: ['probe_read', 'probe_put', 'code_js', 'ask_human'], approve: ['probe_pay'] },
});

/** Computes before, between and after its calls, so that what it has computed would be missed. */
const program = (calls: readonly string[]) => `
const spin = (n) => { let s = 1; for (let i = 0; i < n; i++) s = (s * 31 + i) % 1000003; return s };
const kept = { sums: [], drawn: [Math.random()], when: Date.now(), bytes: new Uint8Array(500000).fill(3) };
${calls
  .map(
    (call, at) => `kept.sums.push(spin(${(at + 1) * 200_000})); console.log('before ${at}', kept.sums.at(-1));
kept['result${at}'] = await ${call}; kept.drawn.push(Math.random());`,
  )
  .join('\n')}
({ sums: kept.sums, results: [${calls.map((_, at) => `kept.result${at}`).join(', ')}], filled: kept.bytes.reduce((a, b) => a + b, 0),
  drawn: new Set(kept.drawn).size, still: Date.now() === kept.when })`;

async function start(url: string, code: string): Promise<string> {
  const input = `[[sim tools=code_js(code=${JSON.stringify(code)})]][[sim say="{{result}}"]]`;
  const body = { agent: 'coder', input, budget: { toolCalls: 100 } };
  const response = await fetch(`${url}/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const { id } = (await response.json()) as { id: string }; // a run
  return id;
}

const ended = (cluster: Cluster, runId: string) =>
  until('the run to end', async () => {
    const row = await runOf(cluster, runId);
    return (row?.status === 'completed' || row?.status === 'failed') && row;
  });

const reached = (cluster: Cluster, runId: string, holds: (journal: readonly JournalEvent[]) => boolean) =>
  until('the run to come so far', async () => holds(await journalOf(cluster, runId)));

/** What has to be the same, however often its process was lost. */
async function told(cluster: Cluster, runId: string) {
  const journal = await journalOf(cluster, runId);
  const row = await runOf(cluster, runId);
  return {
    status: row?.status,
    output: JSON.parse(row?.output ?? 'null'),
    suspended: journal.flatMap(({ type, data }) => (type === 'tool.suspended' ? [[data.fuelUsed, data.printed]] : [])),
    results: journal.flatMap(({ type, data }) => (type === 'tool.completed' ? [[data.name, data.status]] : [])),
  };
}

async function replays(url: string, runId: string): Promise<boolean> {
  const response = await fetch(`${url}/v1/runs/${runId}/replay`, { method: 'POST' });
  return ((await response.json()) as { matches: boolean }).matches; // a replay
}

onEachDatabase('code that waits while its process is killed', { agents: [coder] }, (use) => {
  it('goes on elsewhere as if nothing had been: for a slow tool, and in the midst of computing [verifies code.killed]', async (context) => {
    const cluster = use(context);
    const slow = (name: string) => `tools.probe_put({ name: '${name}', barrier: 'BARRIER' })`;
    const calls = (barrier: string) => [
      `tools.probe_read({ name: 'r1' })`,
      slow('p1').replace('BARRIER', barrier),
      `tools.probe_read({ name: 'r2' })`,
    ];
    const calm = await cluster.start({});
    cluster.release('calm');
    const undisturbed = await start(calm.url, program(calls('calm')));
    await ended(cluster, undisturbed);
    const expected = await told(cluster, undisturbed);
    expect(expected).toMatchObject({ status: 'completed', output: { value: { filled: 1_500_000, drawn: 4, still: true } } });
    expect(expected.suspended).toHaveLength(3);
    expect(Number(expected.suspended[2]?.[0])).toBeGreaterThan(20);
    await calm.kill();

    const victim = await cluster.start({});
    const runId = await start(victim.url, program(calls('stormy')));
    await until('the slow tool to have its effect', () => cluster.effects().filter(({ input }) => input.barrier === 'stormy').length === 1);
    await victim.kill();
    const next = await cluster.start({});
    await until('the tool to be tried again', () => cluster.effects().filter(({ input }) => input.barrier === 'stormy').length === 2);
    cluster.release('stormy');
    await ended(cluster, runId);
    expect(await told(cluster, runId)).toEqual(expected);
    // What had ended was not done again, and what had not was, under the same key.
    const effects = cluster.effects().filter(({ callId }) => callId !== '' && true);
    const journal = await journalOf(cluster, runId);
    const own = new Set(journal.flatMap((event) => (event.type === 'tool.requested' ? [event.data.callId] : [])));
    const made = effects.filter(({ callId }) => own.has(callId));
    expect(made.map(({ probe, attempt }) => [probe, attempt])).toEqual([
      ['r1', 1],
      ['p1', 1],
      ['p1', 2],
      ['r2', 1],
    ]);
    expect(new Set(made.filter(({ probe }) => probe === 'p1').map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1);
    expect(await replays(next.url, runId)).toBe(true);
    expect(await auditBooks(cluster)).toEqual([]);
  }, 240_000);

  it('goes on elsewhere once a person has allowed its call, and asks a person itself [verifies code.killed code.approval]', async (context) => {
    const cluster = use(context);
    const calls = [`tools.ask_human({ question: 'How much?' })`, `tools.probe_pay({ name: 'pay', amount: 5 })`];
    const victim = await cluster.start({});
    const runId = await start(victim.url, program(calls));
    const waits = async () => (await runOf(cluster, runId))?.status === 'waiting';
    await until('the question', waits);
    await victim.kill();
    const second = await cluster.start({});
    const question = (await pendingApprovals(second.url)).get(runId);
    expect(await answerApproval(second.url, question?.id ?? '', { decision: 'answer', result: '{"amount": 5}' })).toBe(200);
    await reached(cluster, runId, (journal) => journal.filter(({ type }) => type === 'approval.requested').length === 2);
    await until('the approval', waits);
    await second.kill();
    expect(cluster.effects().filter(({ probe }) => probe === 'pay')).toEqual([]);
    const third = await cluster.start({});
    const approval = (await pendingApprovals(third.url)).get(runId);
    expect(approval).toMatchObject({ toolName: 'probe_pay', arguments: { name: 'pay', amount: 5 } });
    expect(await answerApproval(third.url, approval?.id ?? '', { decision: 'approve' })).toBe(200);
    await ended(cluster, runId);
    expect(await told(cluster, runId)).toMatchObject({
      status: 'completed',
      output: { value: { results: [{ amount: 5 }, 'pay done'], filled: 1_500_000, drawn: 3, still: true } },
      results: [
        ['ask_human', 'ok'],
        ['probe_pay', 'ok'],
        ['code_js', 'ok'],
      ],
    });
    expect(cluster.effects().filter(({ probe }) => probe === 'pay')).toHaveLength(1);
    expect(await replays(third.url, runId)).toBe(true);
    expect(await auditBooks(cluster)).toEqual([]);
  }, 240_000);

  it('is ended by the rules of effects where a call that must not be repeated was cut off', async (context) => {
    const cluster = use(context);
    const victim = await cluster.start({});
    const runId = await start(victim.url, program([`tools.probe_pay({ name: 'once', barrier: 'never' }).catch((error) => error.code)`]));
    await until('the approval', async () => (await runOf(cluster, runId))?.status === 'waiting');
    const approval = (await pendingApprovals(victim.url)).get(runId);
    await answerApproval(victim.url, approval?.id ?? '', { decision: 'approve' });
    await until('the effect', () => cluster.effects().some(({ probe }) => probe === 'once'));
    await victim.kill();
    const next = await cluster.start({});
    const question = await until('the question', async () => {
      const asked = (await pendingApprovals(next.url)).get(runId);
      return asked?.kind === 'unknown_outcome' && asked;
    });
    await answerApproval(next.url, question.id, { decision: 'fail' });
    await ended(cluster, runId);
    expect(await told(cluster, runId)).toMatchObject({ status: 'completed', output: { value: { results: ['tool_outcome_unknown'] } } });
    expect(cluster.effects().filter(({ probe }) => probe === 'once')).toHaveLength(1);
    expect(await auditBooks(cluster)).toEqual([]);
  }, 240_000);
});
