import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { auditBooks, auditRun, journalOf, runOf } from './audit.ts';
import { answerApproval, pendingApprovals } from './client.ts';
import { type Cluster, steadyLease, until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';
import { type Seen, startAndFollow } from './follower.ts';

/** A run that pays once and says what came of it. */
function pay(cluster: Cluster, name: string, options: { agent: string; first: string; hold?: string }): Promise<Seen> {
  const input = `${name}${options.hold === undefined ? '' : ` hold=${options.hold}`}
[[sim say="Paying." tools=probe_pay(name="${name}",amount=5)]]
[[sim say="Result: {{result}}"]]`;
  return startAndFollow({ first: options.first, urls: cluster.urls, request: { agent: options.agent, input }, idempotencyKey: name });
}

const effectsOf = (cluster: Cluster, name: string) => cluster.effects().filter((effect) => effect.probe === name);

onEachDatabase('a tool that must not be repeated', {}, (use) => {
  it('is never run again without an answer when its outcome is unknown, through further deaths [verifies durability.effects.once durability.wait.no-memory]', async (context) => {
    const cluster = use(context);
    const victim = await cluster.start({ holds: 'asked', claimsNothing: true, runs: steadyLease });
    const cases = [
      { name: 'done', hold: 'tool:done:effected' },
      { name: 'retry', hold: 'tool:retry:entered' },
      { name: 'fail', hold: 'before:tool.completed:fail' },
      { name: 'known', hold: 'after:tool.completed:known' },
    ];
    const runs = cases.map(({ name, hold }) => pay(cluster, name, { agent: 'prober', first: victim.url, hold }));
    const all = Promise.all(runs);
    await Promise.race([all, until('holding every run', () => victim.held.size === cases.length)]);
    await victim.kill();

    const second = await cluster.start();
    const questions = await until('three questions', async () => {
      const pending = await pendingApprovals(second.url);
      return pending.size === 3 && pending;
    });
    for (const question of questions.values()) {
      expect(question).toMatchObject({ kind: 'unknown_outcome', toolName: 'probe_pay', choices: ['done', 'retry', 'fail'] });
    }
    await until('the runs to wait', async () => {
      const rows = await Promise.all([...questions.keys()].map((runId) => runOf(cluster, runId)));
      return rows.every((row) => row?.status === 'waiting');
    });
    await second.kill();

    const third = await cluster.start();
    expect(cases.map(({ name }) => effectsOf(cluster, name).length)).toEqual([1, 0, 1, 1]);
    const still = await pendingApprovals(third.url);
    expect([...still.keys()].sort()).toEqual([...questions.keys()].sort());
    const byName = (name: string) =>
      [...still.values()].find((question) => JSON.stringify(question.arguments).includes(`"${name}"`))?.id ?? '';
    expect(await answerApproval(third.url, byName('done'), { decision: 'approve' })).toBe(400);
    expect(await answerApproval(third.url, byName('done'), { decision: 'done', result: 'the receipt says paid' })).toBe(200);
    expect(await answerApproval(third.url, byName('retry'), { decision: 'retry' })).toBe(200);
    expect(await answerApproval(third.url, byName('fail'), { decision: 'fail', note: 'leave it' })).toBe(200);
    expect(await answerApproval(third.url, byName('fail'), { decision: 'retry' })).toBe(409);

    const [done, retry, fail, known] = await all;
    expect(await problemsOf(cluster, done, 'Result: the receipt says paid')).toEqual([]);
    expect(await problemsOf(cluster, retry, 'Result: retry done')).toEqual([]);
    expect(await problemsOf(cluster, known, 'Result: known done')).toEqual([]);
    const failed = (await journalOf(cluster, fail?.runId ?? '')).find((event) => event.type === 'message.completed');
    expect(failed?.data).toMatchObject({ text: expect.stringContaining('tool_outcome_unknown') });
    expect(cases.map(({ name }) => effectsOf(cluster, name).map((effect) => effect.attempt))).toEqual([[1], [2], [1], [1]]);
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);
});

onEachDatabase('an approval', {}, (use) => {
  it('survives a kill of the waiting process and lets exactly the approved arguments through [verifies approval.restart approval.exact-arguments]', async (context) => {
    const cluster = use(context);
    const first = await cluster.start();
    const names = ['as-asked', 'edited', 'denied', 'answered-while-down'];
    const all = Promise.all(names.map((name) => pay(cluster, name, { agent: 'careful', first: first.url })));
    const questions = await until('four questions', async () => {
      const pending = await pendingApprovals(first.url);
      return pending.size === names.length && [...pending.values()];
    });
    const idOf = (name: string) => questions.find((question) => JSON.stringify(question.arguments).includes(`"${name}"`))?.id ?? '';
    // Answered and killed at once: whoever comes next must find the answer.
    expect(await answerApproval(first.url, idOf('answered-while-down'), { decision: 'approve' })).toBe(200);
    await first.kill();

    const second = await cluster.start();
    expect(await answerApproval(second.url, idOf('as-asked'), { decision: 'approve' })).toBe(200);
    expect(await answerApproval(second.url, idOf('edited'), { decision: 'approve', arguments: { name: 'edited', amount: 3 } })).toBe(200);
    expect(await answerApproval(second.url, idOf('denied'), { decision: 'deny', note: 'too much' })).toBe(200);
    let over = false;
    const clerk = answerCutOff(cluster, second.url, 'answered-while-down', () => over);
    const [asAsked, edited, denied, whileDown] = await all.finally(() => {
      over = true;
    });
    await clerk;
    expect(await problemsOf(cluster, asAsked, 'Result: as-asked done')).toEqual([]);
    const changed = '(A person changed the arguments of this call before allowing it. It ran with: {"name":"edited","amount":3})';
    expect(await problemsOf(cluster, edited, `Result: edited done\n\n${changed}`)).toEqual([]);
    expect(await problemsOf(cluster, whileDown, 'Result: answered-while-down done')).toEqual([]);
    expect(denied?.types).toContain('run.completed');
    expect(effectsOf(cluster, 'as-asked').map((effect) => effect.input)).toEqual([{ name: 'as-asked', amount: 5 }]);
    expect(effectsOf(cluster, 'edited').map((effect) => effect.input)).toEqual([{ name: 'edited', amount: 3 }]);
    expect(effectsOf(cluster, 'denied')).toEqual([]);
    // It was started before the kill or after it; either way a person is not asked twice unless it was cut off in between.
    expect(effectsOf(cluster, 'answered-while-down')).toHaveLength(1);
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);
});

/** The kill may fall into the payment itself: then a person is asked, and answers by what the books say. */
async function answerCutOff(cluster: Cluster, url: string, name: string, over: () => boolean): Promise<void> {
  while (!over()) {
    for (const { id, kind } of (await pendingApprovals(url)).values()) {
      if (kind !== 'unknown_outcome') continue;
      const paid = effectsOf(cluster, name).length > 0;
      await answerApproval(url, id, paid ? { decision: 'done', result: `${name} done` } : { decision: 'retry' });
    }
    await sleep(100);
  }
}

function problemsOf(cluster: Cluster, seen: Seen | undefined, output: string): Promise<string[]> {
  return seen === undefined ? Promise.resolve(['it was not followed']) : auditRun(cluster, seen, { output });
}
