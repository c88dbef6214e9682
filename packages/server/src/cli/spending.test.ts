import type { Page, Run } from '@nexus-agent/protocol';
import type { UsageRow } from '@nexus-agent/sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { runCli } from './cli.testkit.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform();
});
afterAll(() => platform.close());

const nexus = (command: string, options: Parameters<typeof runCli>[1] = {}) =>
  runCli(command.split(' '), { ...options, env: { NEXUS_URL: platform.url } });

it('limits a run in money, counts and time, each with its unit, and runs it for a user and a project', async () => {
  const { out } = await nexus(
    'run hello --background --user ann --project web --budget-usd $2 --budget-tokens 200k --budget-tool-calls 4 --budget-time 10m',
  );
  const shown = await platform.ask<Run>('GET', `/v1/runs/${out.trim()}`);
  expect(shown).toMatchObject({
    user: 'ann',
    project: 'web',
    budget: { limit: { costMicroUsd: 2_000_000, tokens: 200_000, toolCalls: 4, wallMs: 600_000 } },
  });
  expect((await nexus(`runs show ${out.trim()}`)).out).toMatch(/^user +ann$/m);
  expect((await nexus('run hello --budget-time 10')).err).toContain('a time with its unit, such as 90s');
  expect((await nexus('run hello --user *')).err).toContain('* stands for every user');
  const session = await nexus('sessions create --user ann --project web --budget-time 90s');
  expect(session.out).toMatch(/^user +ann$/m);
  expect(session.out).toMatch(/^wallMs +1 min 30 s/m);
});

it('shows what was spent by day', async () => {
  await platform.until((await nexus('run --background hello')).out.trim(), 'completed');
  const { data } = await platform.ask<Page<UsageRow>>('GET', '/v1/usage?days=3');
  const row = data[0];
  expect(row?.costMicroUsd).toBeGreaterThan(0);
  const cost = ((row?.costMicroUsd ?? 0) / 1e6).toFixed((row?.costMicroUsd ?? 0) < 10_000 ? 6 : 4);
  expect((await nexus('usage --days 3')).out).toContain(`${row?.day}  $${cost}`);
  expect((await nexus('budgets usage --days 3')).out).toMatch(new RegExp(` ${row?.tokens} +${row?.toolCalls}$`, 'm'));
});

it('shows what was spent by user, agent, model and project, within 80 columns [verifies budget.usage]', async () => {
  const name = 'a person with a name that is far too long for a column of a table';
  await platform.until((await platform.ask<Run>('POST', '/v1/runs', { input: 'hello', user: name, project: 'web' })).id, 'completed');
  const { data } = await platform.ask<Page<UsageRow>>('GET', '/v1/usage?by=user');
  const spent = data.find((row) => row.user === name);
  expect(spent?.costMicroUsd).toBeGreaterThan(0);
  const { out } = await nexus('usage --by user');
  expect(out).toContain(`${name.slice(0, 29)}…  $`);
  for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  expect(JSON.parse((await nexus('usage --by user --json')).out)).toEqual(await platform.ask('GET', '/v1/usage?by=user'));
  expect((await nexus('usage --by agent')).out).toMatch(/^chat +\$/m);
  expect((await nexus('usage --by model')).out).toMatch(/^sim\/sim-large +\$/m);
  expect((await nexus('usage --by project')).out).toMatch(/^web +\$/m);
  expect((await nexus('usage --by user --from 2020-01-01 --to 2020-02-01')).out).toContain('none');
  expect((await nexus('usage --from 2020-02-01 --to 2020-01-01')).err).toContain('lies before `from`');
  expect((await nexus('usage --from yesterday')).err).toContain('expected a day (UTC) such as 2026-11-22');
});

it('says what would be deleted, and deletes it', async () => {
  const preview = await nexus('prune --dry-run');
  expect(preview.out).toMatch(/^KIND +KEPT +WOULD GO +OLDEST$/m);
  expect(preview.out).toMatch(/^sessions +90 days +0$/m);
  const files = { 'keeps.yaml': 'retention: { sessionsDays: 5 }\n' };
  const configured = await nexus('prune --dry-run --config keeps.yaml', { files });
  expect(configured.err).toContain('the server goes by its own configuration, in which retention.sessionsDays differ');
  expect((await nexus('prune')).out).toMatch(/^decisions +365 days +0$/m);
  const { id } = JSON.parse((await nexus('sessions create --json')).out);
  expect((await nexus(`sessions delete ${id}`)).out).toContain(`${id} is deleted`);
  expect((await nexus(`sessions show ${id}`)).code).toBe(1);
  await nexus('agents put a.yaml', { files: { 'a.yaml': 'name: passing\nmodels: [sim/sim-small]\n' } });
  expect((await nexus('agents delete passing')).out).toContain('passing is deleted');
  expect((await nexus('agents delete chat')).err).toContain('cannot be deleted here');
});
