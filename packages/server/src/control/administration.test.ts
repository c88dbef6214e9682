import { afterEach, expect, it } from 'vitest';
import { NexusError } from '#core';
import { createPolicyEngine } from '#policy';
import { openTestRuns, principal, type TestRuns } from '#runs/testing';
import { createAdministration } from './administration.ts';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const { tenantId } = principal;
const question = { action: 'admin.agents', part: 'agents' } as const;

async function open(policies = '', commit?: () => Promise<never>) {
  const opened = await openTestRuns();
  runs = opened;
  const sources = policies === '' ? [] : [{ name: 'operator', text: policies }];
  const engine = { ...opened.engine, policy: createPolicyEngine({ sources, clock: opened.time.clock }) };
  const store = commit === undefined ? engine.store : { ...engine.store, commit };
  const { ask } = createAdministration({ engine: { ...engine, store } });
  const recorded = async () => (await engine.store.listDecisions(tenantId, {}, { limit: 10 })).items;
  return { ask, recorded };
}

it('permits owners and administrators, and records what they may do', async () => {
  const { ask, recorded } = await open();
  await ask(principal, question, { name: 'a' });
  await ask({ ...principal, roles: ['admin'] }, question, { name: 'a' });
  await expect(ask({ ...principal, roles: ['developer'] }, question, { name: 'a' })).rejects.toMatchObject({ code: 'policy_denied' });
  expect((await recorded()).map(({ action, effect, resource }) => [action, effect, resource])).toEqual([
    ['admin.agents', 'allow', 'System::"agents"'],
    ['admin.agents', 'allow', 'System::"agents"'],
    ['admin.agents', 'deny', 'System::"agents"'],
  ]);
});

it('fails closed: what cannot be recorded, judged or met is refused', async () => {
  const away = await open('', () => Promise.reject(new NexusError('storage_unavailable', 'the store is away')));
  await expect(away.ask(principal, question, {})).rejects.toMatchObject({ code: 'storage_unavailable' });
  await runs?.close();
  const erring = await open(
    'forbid (principal, action == Action::"admin.agents", resource) when { context.arguments has limit && context.arguments.limit > 5 };',
  );
  await erring.ask(principal, question, { limit: 5 });
  await expect(erring.ask(principal, question, { limit: 'much' })).rejects.toMatchObject({ code: 'policy_denied' });
  await runs?.close();
  const owing = await open('@advice @obligation("require_approval") permit (principal, action, resource);');
  await expect(owing.ask(principal, question, {})).rejects.toMatchObject({
    code: 'policy_denied',
    message: expect.stringContaining('only tool calls'),
  });
});

it('records of reading only what is refused', async () => {
  const { ask, recorded } = await open();
  const reading = { action: 'admin.read', part: 'metrics' } as const;
  await ask(principal, reading, {});
  expect(await recorded()).toEqual([]);
  await expect(ask({ ...principal, roles: [] }, reading, {})).rejects.toMatchObject({ code: 'policy_denied' });
  expect(await recorded()).toMatchObject([{ action: 'admin.read', effect: 'deny' }]);
});
