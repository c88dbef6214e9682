import { expect, it } from 'vitest';
import { createTestEngine } from '#policy/testing';

const load = (text: string) => () => createTestEngine({ sources: [{ name: 'a.cedar', text }] });
const forbid = (condition: string, scope = 'principal, action, resource is Tool') => `forbid (${scope}) when { ${condition} };`;

it.each([
  [forbid('resource.name == "a" && resource.name == "b"'), /"a" and "b" at once/],
  [forbid('resource.name == "a"', 'principal, action, resource == Tool::"b"'), /"b" and "a" at once/],
  [forbid('resource.name like "fs_*" && resource.name == "code_js"'), /"code_js" and like "fs_\*"/],
  ['forbid (principal, action, resource is Tool) when { resource.name == "a" } when { resource.name == "b" };', /at once/],
  [forbid('resource has effects && resource.effects == "twice"'), /never is "twice"; it is one of none, idempotent, once/],
  [forbid('resource has effects && resource.effects == "Once"'), /did you mean "once"/],
  [forbid('context has step && context.step > 5 && context.step < 6'), /at least 6 and at most 5/],
  [forbid('context has step && context.step == 1 && context.step == 2'), /at least 2 and at most 1/],
  [forbid('context has step && !(context has step)'), /there and not to be there/],
  [forbid('principal.name == "x"', 'principal == Agent::"chat", action, resource is Tool'), /"chat" and "x" at once/],
  [forbid('principal.tenant == "Acme"'), /names of tenants/],
  [forbid('resource has scheme && resource.scheme == "ftp"', 'principal, action, resource is Host'), /never is "ftp"/],
])('refuses %s, which never applies', (text, why) => expect(load(text)).toThrow(why));

it.each([
  forbid('resource.name == "a" || resource.name == "b"'),
  forbid('!(resource.name == "a" && resource.name == "b")'),
  forbid('resource.name like "fs_*" && resource.name like "*_read"'),
  forbid('resource has effects && ["none", "once"].contains(resource.effects)'),
  forbid('context has step && context.step >= 5 && context.step <= 5'),
  'forbid (principal, action, resource is Tool) when { resource.name == "a" } unless { resource.name == "b" };',
])('takes %s', (text) => expect(load(text)).not.toThrow());

it('tells what a policy reads that is never there, and whom it permits by name', () => {
  const engine = createTestEngine();
  const notes = (text: string) =>
    [
      ...engine
        .prepare([{ name: 'a.cedar', text }])
        .mentions()
        .values(),
    ].flatMap((one) => one.notes);
  expect(notes('forbid (principal, action == Action::"net.egress", resource) when { context.arguments has url };')).toEqual([
    'context.arguments is never set for net.egress',
  ]);
  expect(notes('forbid (principal, action == Action::"file.read", resource) when { context has approved };')).toEqual([
    'context.approved is never set for file.read',
  ]);
  expect(notes('permit (principal is Agent, action == Action::"tool.execute", resource) when { principal.name like "*analyst" };')).toEqual(
    [expect.stringContaining('agents that tenants name like that')],
  );
  expect(notes('forbid (principal, action == Action::"tool.execute", resource) when { context.arguments has url };')).toEqual([]);
});
