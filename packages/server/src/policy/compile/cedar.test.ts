import { expect, it } from 'vitest';
import { compileSessionForm } from '#policy/forms';
import { createTestEngine, hostRequest, toolRequest } from '#policy/testing';
import { cedarRuntime } from './cedar.ts';

const words = (count: number, prefix: string) => Array.from({ length: count }, (_, index) => `${prefix}${index}`.padEnd(60, 'x'));

it('decides by a short form of as many entries as there may be [verifies policy.engine.broken]', () => {
  const engine = createTestEngine();
  const tools = { allow: words(200, 'tool_'), approve: words(200, 'other_') };
  const hosts = { allow: words(200, 'net:host-').map((entry) => `${entry}.example`) };
  const agentPolicy = { allow: ['*', 'net:*'] };
  const ask = (name: string) => engine.decide(toolRequest(name, { agentPolicy, sessionPolicy: tools }));
  expect(ask('fs_read').reasons).toEqual(['session:allow:tool']);
  expect(ask(words(200, 'tool_')[199] ?? '').effect).toBe('allow');
  expect(ask(words(200, 'other_')[199] ?? '').effect).toBe('require_approval');
  expect(engine.decide(hostRequest('other.example', { agentPolicy, sessionPolicy: hosts })).reasons).toEqual(['session:allow:net']);
  const texts = Object.fromEntries(compileSessionForm(tools).map(({ id, text }) => [id, text]));
  const answer = cedarRuntime().cedar.isAuthorized({
    ...{
      principal: { type: 'Agent', id: 'chat' },
      action: { type: 'Action', id: 'tool.execute' },
      resource: { type: 'Tool', id: 'fs_read' },
    },
    ...{ context: {}, entities: [{ uid: { type: 'Tool', id: 'fs_read' }, attrs: { name: 'fs_read' }, parents: [] }] },
    policies: { staticPolicies: texts },
  });
  expect(answer).toMatchObject({ response: { decision: 'deny', diagnostics: { reason: ['session:allow:tool'], errors: [] } } });
});

it('a question that breaks the engine is denied, and disturbs no other one [verifies policy.engine.broken]', () => {
  const ask = (text: string, name: string) => createTestEngine({ sources: [{ name: 'ops', text }] }).decide(toolRequest(name));
  const permit = (condition: string) => `permit (principal, action == Action::"tool.execute", resource) when { ${condition} };`;
  const deep = permit(Array.from({ length: 3_000 }, (_, index) => `resource.name == "t${index}"`).join(' || '));
  let effect = 'deny';
  try {
    ({ effect } = ask(deep, 'other'));
  } catch {
    // It was too much to be loaded.
  }
  expect(effect).toBe('deny');
  for (const name of ['a', 'b', 'c']) expect(ask(permit(`resource.name == "${name}"`), name).effect).toBe('allow');
});
