import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databases, startVictim, type Victim } from './support/victim.ts';

describe.each(await databases())('a number that nobody can count to, on %s', (database) => {
  let victim: Victim;
  let hostile: Readonly<Record<string, string>>;
  beforeAll(async () => {
    victim = await startVictim({ database, config: { policy: { tenants: { allow: ['*', 'model:*'] } } } });
    hostile = { authorization: `Bearer ${await victim.key(['runs', 'admin'], 'hostile')}` };
    for (const agent of [{ name: 'worker' }, { name: 'boss', subagents: ['worker'] }]) {
      const definition = { models: ['sim/sim-large'], tools: [], policy: { allow: ['*'] }, ...agent };
      const put = await victim.call('POST', '/v1/agents', definition, hostile);
      expect(put.status, put.text).toBeLessThan(300);
    }
  }, 120_000);
  afterAll(() => victim.close());

  it.each(['1e300', '1e17', '9007199254740993'])(
    'as what a sub-agent may spend (%s) is told to the model that said it [verifies hostile.kill.numbers]',
    async (most) => {
      const input = `[[sim tools=agent_worker(task="hello",maxCostMicroUsd=${most})]] [[sim say="{{result}}"]]`;
      const run = await victim.end(await victim.start({ agent: 'boss', input }, hostile), hostile);
      expect(run).toMatchObject({ status: 'completed', output: expect.stringContaining('tool_input_invalid') });
      const budgets = await victim.call('GET', '/v1/budgets', undefined, hostile);
      expect(budgets.status, budgets.text).toBe(200);
    },
  );
});
