import { expect, it } from 'vitest';
import { compileAgentForm, compileSessionForm, defaultCeiling } from '#policy/forms';
import { cedarRuntime } from './cedar.ts';
import { analyse } from './reads.ts';

function readsOf(condition: string) {
  const answer = cedarRuntime().cedar.policyToJson(`permit (principal, action, resource) when { ${condition} };`);
  if (answer.type === 'failure') throw new Error(JSON.stringify(answer.errors));
  const { reads, argumentUses } = analyse(answer.json);
  return {
    principal: [...reads.principal],
    resource: [...reads.resource],
    context: [...reads.context],
    arguments: Object.fromEntries([...argumentUses].map(([name, kinds]) => [name, [...kinds].filter((kind) => kind !== 'Presence')])),
    everything: reads.everything,
  };
}

const nothing = { principal: [], resource: [], context: [], arguments: {}, everything: false };

it.each([
  ['true', {}],
  ['principal == Agent::"a" && resource in Tool::"b" && action == Action::"c"', {}],
  ['[principal, User::"a"].contains(principal)', {}],
  ['principal.tenant == resource.name', { principal: ['tenant'], resource: ['name'] }],
  ['principal has roles && resource has a.b', { principal: ['roles'], resource: ['a'] }],
  ['context["step"] > 3 || context.approved.role like "x*"', { context: ['step', 'approved'] }],
  ['context has approved.role', { context: ['approved'] }],
  ['context has arguments', { context: ['arguments'] }],
  ['if context.a then context.b else !context.c', { context: ['a', 'b', 'c'] }],
  ['[context.a, [context.b]] == []', { context: ['a', 'b'] }],
  ['{attr: context.a, left: {pattern: context.b}} == {}', { context: ['a', 'b'] }],
  ['context.time.offset(duration("1h")).toDate() > datetime("2026-01-01")', { context: ['time'] }],
  ['{a: context.x}.a', { context: ['x'], everything: true }],
  ['(if context.x then principal else resource).tenant == "a"', { context: ['x'], everything: true }],
  ['(if context.x then principal else resource) has tenant', { context: ['x'], everything: true }],
  ['Agent::"a".tenant == "b"', { everything: true }],
  ['context == {}', { everything: true }],
  ['{a: context} == {}', { everything: true }],
])('%s', (condition, expected) => {
  expect(readsOf(condition)).toEqual({ ...nothing, ...expected });
});

it.each([
  ['context.arguments.a like "x"', 'String'],
  ['context.arguments["a"] == "x"', 'String'],
  ['"x" != context.arguments.a', 'String'],
  ['context.arguments.a == context.sessionId', 'String'],
  ['context.arguments.a == principal.tenant', 'String'],
  ['["x", "y"].contains(context.arguments.a)', 'String'],
  ['principal.roles.contains(context.arguments.a)', 'String'],
  ['[1, 2].contains(context.arguments.a)', 'Long'],
  ['-(context.arguments.a) * 2 < 3', 'Long'],
  ['context.arguments.a == 1 + 2', 'Long'],
  ['context.arguments.a', 'Boolean'],
  ['!context.arguments.a || true', 'Boolean'],
  ['if context.arguments.a then true else false', 'Boolean'],
  ['if context.x then context.arguments.a else false', 'Boolean'],
  ['context.arguments.a == true', 'Boolean'],
  ['context.arguments.a.contains("x")', 'Strings'],
  ['context.arguments.a.isEmpty()', 'Strings'],
  ['context.arguments.a == ["x"]', 'Strings'],
  ['context.arguments.a.lessThan(decimal("1.0"))', 'Decimal'],
  ['context.arguments.a == decimal("1.0")', 'Decimal'],
])('tells the type of an argument from %s', (condition, kind) => {
  expect(readsOf(condition).arguments).toEqual({ a: [kind] });
});

it('finds in what is left of a short form what that is said to read', () => {
  const form = {
    allow: ['fs_*', 'model:gpt-*', 'net:*.example.com'],
    approve: ['fs_write', 'model:a'],
    deny: ['fs_delete', 'model:b', 'net:c'],
  };
  for (const policy of [...compileAgentForm(form), ...compileSessionForm(form), ...defaultCeiling()]) {
    const answer = cedarRuntime().cedar.policyToJson(policy.asked);
    if (answer.type === 'failure') throw new Error(JSON.stringify(answer.errors));
    expect(policy.reads).toEqual(analyse(answer.json).reads);
  }
});
