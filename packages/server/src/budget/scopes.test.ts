import { RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { createIdSource, systemClock } from '#core';
import { budgetView, limitOperations, scopesOf } from './index.ts';

const ids = createIdSource(systemClock);

it('orders scopes from the run to the tenant and leaves out what is not known', () => {
  const run = RunId.parse(ids.next('run'));
  const parent = RunId.parse(ids.next('run'));
  const session = SessionId.parse(ids.next('session'));
  const tenantId = TenantId.parse('acme');
  const scopes = scopesOf({ tenantId, run, parentRuns: [parent], session, user: null, agent: 'helper', project: 'p' });
  expect(scopes.map((scope) => `${scope.kind}:${scope.id}`)).toEqual([
    `run:${run}`,
    `run:${parent}`,
    `session:${session}`,
    'agent:helper',
    'project:p',
    'tenant:acme',
  ]);
});

it('shows limits only where there are any, and the totals alone', () => {
  const row = { limit: null, spent: 3, reserved: 1 };
  expect(
    budgetView([
      { ...row, unit: 'tokens', window: 'total', limit: 10 },
      { ...row, unit: 'toolCalls', window: 'total' },
      { ...row, unit: 'wallMs', window: 'total', limit: 0 },
      { ...row, unit: 'tokens', window: 'day', limit: 5, spent: 99 },
    ]),
  ).toEqual({
    limit: { tokens: 10, wallMs: 0 },
    spent: { tokens: 3, toolCalls: 3, wallMs: 3 },
    reserved: { tokens: 1, toolCalls: 1, wallMs: 1 },
  });
});

it('gives a scope a row for every unit, or only for those that are limited', () => {
  const scope = { kind: 'run', id: 'r' } as const;
  expect(limitOperations(scope, { tokens: 5 })).toHaveLength(4);
  expect(limitOperations(scope, { tokens: 5 }, { window: 'day', unlimited: 'ignore' })).toEqual([
    { type: 'limit', scope, unit: 'tokens', window: 'day', limit: 5 },
  ]);
});
