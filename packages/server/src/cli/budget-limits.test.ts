import type { BudgetRow, Page, Run } from '@nexus-agent/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { runCli } from './cli.testkit.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform();
});
afterAll(() => platform.close());

const nexus = (command: string) => runCli(command.split(' '), { env: { NEXUS_URL: platform.url } });
const rows = async (command: string): Promise<BudgetRow[]> => (JSON.parse((await nexus(`${command} --json`)).out) as Page<BudgetRow>).data;
const spend = async (user: string) => {
  const run = await platform.ask<Run>('POST', '/v1/runs', { input: 'hello', user, budget: { tokens: 100_000 } });
  await platform.until(run.id, 'completed');
  return (await platform.ask<Run>('GET', `/v1/runs/${run.id}`)).totals.costMicroUsd;
};

it('lists what operators limit, and balances of sessions and runs where they are asked for', async () => {
  await spend('list');
  await nexus('budgets set tenant:default 25 --window day');
  await nexus('budgets set agent:chat 200k --unit tokens');
  const listed = await nexus('budgets');
  expect(listed.out).toMatch(/^agent:chat .*\ntenant:default /m);
  expect(listed.out).not.toMatch(/^(session|run):/m);
  expect(listed.err).toContain('--kind session run');
  expect(new Set((await rows('budgets list --kind session run')).map(({ scope }) => scope.kind))).toEqual(new Set(['session', 'run']));
  expect((await rows('budgets list --kind tenant')).map(({ scope }) => scope.kind)).toEqual(['tenant']);
  expect((await nexus('budgets list --kind tenants')).code).toBe(2);
  await expect(platform.ask('GET', '/v1/budgets?kind=tenants,user')).rejects.toThrow('expected kinds of scopes');
});

it('shows a user the limit of every user before anything is asked of it, with what was spent [verifies budget.user.default]', async () => {
  const spent = await spend('early');
  await nexus('budgets set user:* 2 --window day');
  expect(await rows('budgets --scope user:early')).toMatchObject([{ window: 'day', limit: 2_000_000, inherited: true, spent }]);
  const more = await spend('early');
  expect(await rows('budgets --scope user:early')).toMatchObject([
    { window: 'day', limit: 2_000_000, inherited: true, spent: spent + more },
  ]);
});

it('takes away only a limit that is there, and says which ones are', async () => {
  await nexus('budgets set user:* 2 --window day');
  await spend('removes');
  const inherited = await nexus('budgets remove user:removes --window day');
  expect(inherited.code).toBe(1);
  expect(inherited.err).toContain('it is under that of user:*');
  expect(inherited.err).toContain('nexus budgets set user:removes none');
  expect(inherited.err).not.toContain('|');
  await nexus('budgets set user:removes none --window day');
  expect((await nexus('budgets remove user:removes --window day')).code).toBe(0);
  await nexus('budgets set project:web 2 --window month');
  const other = await nexus('budgets remove project:web');
  expect(other.err).toContain('project:web has no limit of its own in costMicroUsd in total; it has one in costMicroUsd a month');
  expect((await nexus('budgets remove project:web --window month')).code).toBe(0);
  expect((await nexus('budgets remove project:web --window month')).code).toBe(1);
});

it('refuses a pattern that would be taken for a name', async () => {
  for (const scope of ['project:web*', 'user:an*', 'user:**', 'agent:*']) {
    const refused = await nexus(`budgets set ${scope} 2`);
    expect(refused.code).toBe(1);
    expect((await rows(`budgets --scope ${scope}`)).filter(({ inherited }) => inherited !== true)).toEqual([]);
  }
  expect((await nexus('budgets set project:web* 2')).err).toContain('only user:* is a pattern');
});

it('takes a time with its unit alone, as amounts do', async () => {
  const bare = await nexus('budgets set tenant:default 1000 --unit wallMs');
  expect(bare.code).toBe(2);
  expect(bare.err).toContain('expected a time with its unit');
  expect((await nexus('budgets set tenant:default 10m --unit wallMs')).out).toContain('10 min 0 s in total');
});
