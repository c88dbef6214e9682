import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { defaultPolicies } from '#policy/compile';
import { createTestEngine, toolRequest } from '#policy/testing';

const permitAll = 'permit (principal, action == Action::"tool.execute", resource);';

it.each([
  ['a syntax error', `${permitAll}\npermit (principal actio`, 'ops.cedar:2:19', 'unexpected token'],
  ['a wrong scope variable', 'permit (principal, acion, resource);', 'ops.cedar:1:20', 'acion'],
  ['an unknown action', 'permit (principal, action == Action::"tool.run", resource);', 'ops.cedar:1', 'tool.run'],
  [
    'an unknown attribute',
    `${permitAll}\n// ünïcode\nforbid (principal, action, resource is Tool)\n  when { resource.nme == "x" };`,
    'ops.cedar:4:10',
    'did you mean `name`',
  ],
  [
    'an optional attribute without has',
    'forbid (principal, action, resource) when { context.step > 3 };',
    'ops.cedar:1:45',
    'context has step',
  ],
  [
    'a forbid that can never apply',
    'forbid (principal, action == Action::"model.invoke", resource is Tool);',
    'ops.cedar:1',
    'applicable action',
  ],
  ['a misspelt annotation', `@obligaton("require_approval")\n${permitAll}`, 'ops.cedar:1:1', 'unknown annotation @obligaton'],
  ['an obligation on a forbid', '@obligation("cap_tokens:5") forbid (principal, action, resource);', 'ops.cedar:1:1', 'forbid'],
  ['an advice without an obligation', `${permitAll} @advice ${permitAll}`, `ops.cedar:1:${permitAll.length + 2}`, '@advice'],
  ['a template', 'permit (principal == ?principal, action, resource);', 'ops.cedar', 'templates'],
  ['a nested argument', 'forbid (principal, action, resource) when { context.arguments has a.b };', 'ops.cedar:1:1', 'argumentsJson'],
  ['the arguments as a whole', 'forbid (principal, action, resource) when { context.arguments == {} };', 'ops.cedar:1:1', 'by name'],
  [
    'an argument of no type',
    'forbid (principal, action, resource) when { context.arguments has a && context.arguments.a == context.arguments.a };',
    'ops.cedar:1:1',
    'type',
  ],
  [
    'an argument of two types',
    'forbid (principal, action, resource) when { context.arguments has a && context.arguments.a == 1 };\nforbid (principal, action, resource) when { context.arguments has a && context.arguments.a like "1" };',
    'ops.cedar:2:1',
    'as Long at ops.cedar:1:1',
  ],
  [
    'a pattern as a host',
    'forbid (principal, action, resource == Host::"*.evil.example");',
    'ops.cedar:1:1',
    'only `like` knows wildcards',
  ],
  ['a pattern as a tool', 'forbid (principal, action, resource == Tool::"fs_*");', 'ops.cedar:1:1', 'resource.name like "fs_*"'],
  ['a pattern as a model', 'forbid (principal, action, resource == Model::"openai/*");', 'ops.cedar:1:1', 'resource.ref like "openai/*"'],
  ['a name that no tool has', 'forbid (principal, action, resource == Tool::"pay ");', 'ops.cedar:1:1', 'names of tools have'],
  [
    'a host that is equal to a pattern',
    'forbid (principal, action, resource is Host) when { resource.name == "*.evil.example" };',
    'ops.cedar:1:1',
    'resource.name never is "*.evil.example"',
  ],
  [
    'a model without its provider',
    'forbid (principal, action, resource is Model) when { ["gpt-9"].contains(resource.ref) };',
    'ops.cedar:1:1',
    'compare resource.model',
  ],
  ['a name in capitals', 'forbid (principal, action, resource) when { principal.name == "Chat" };', 'ops.cedar:1:1', 'small letters'],
  [
    'a role in capitals',
    'forbid (principal is User, action in Action::"admin", resource) unless { principal.roles.containsAny(["Owner"]) };',
    'ops.cedar:1:1',
    'as "owner"',
  ],
  [
    'an action that nothing asks yet',
    'permit (principal, action == Action::"memory.read", resource);',
    'ops.cedar:1:1',
    'nothing asks Action::"memory.read" yet',
  ],
  [
    'one among others',
    'forbid (principal, action in [Action::"tool.execute", Action::"memory.write"], resource);',
    'ops.cedar:1:1',
    'memory.write',
  ],
  [
    'one in a condition',
    'forbid (principal, action, resource) when { action == Action::"memory.write" };',
    'ops.cedar:1:1',
    'memory.write',
  ],
  ['a misspelt action', 'forbid (principal, action == Action::"tool.exeute", resource);', 'ops.cedar:1:1', 'did you mean "tool.execute"?'],
  [
    'administration as a whole that is not named as a group',
    'forbid (principal, action == Action::"admin.write", resource);',
    'ops.cedar:1:1',
    'action in Action::"admin"',
  ],
  ['a group as an action', 'forbid (principal, action == Action::"admin", resource);', 'ops.cedar:1', 'applicable action'],
  ['a part that is not administered', 'forbid (principal, action, resource == System::"key");', 'ops.cedar:1:1', 'did you mean "keys"?'],
  [
    'a host in capitals',
    `${permitAll}\nforbid (principal, action, resource == Host::"Evil.example");`,
    'ops.cedar:2:1',
    'compared as Host::"evil.example"',
  ],
  ['a host with its final dot', 'forbid (principal, action, resource in Host::"evil.example.");', 'ops.cedar:1:1', 'Host::"evil.example"'],
  [
    'a host of other letters',
    'forbid (principal, action, resource) when { resource == Host::"b\u00fccher.example" };',
    'ops.cedar:1:1',
    'Host::"xn--bcher-kva.example"',
  ],
  ['an escaped host', 'forbid (principal, action, resource == Host::"evi%6c.example");', 'ops.cedar:1:1', 'Host::"evil.example"'],
  ['a host with a port', 'forbid (principal, action, resource == Host::"evil.example:8443");', 'ops.cedar:1:1', 'resource.port == 8443'],
  ['an address that is written otherwise', 'forbid (principal, action, resource == Host::"[0:0::1]");', 'ops.cedar:1:1', 'Host::"::1"'],
  ['a URL for a host', 'forbid (principal, action, resource == Host::"https://evil.example/");', 'ops.cedar:1:1', 'is no host'],
  [
    'the name of a host in capitals',
    'forbid (principal, action == Action::"net.egress", resource) when { resource.name == "Evil.example" };',
    'ops.cedar:1:1',
    '"evil.example"',
  ],
  [
    'the same the other way round',
    'forbid (principal, action, resource is Host) when { "Evil.example" == resource.name };',
    'ops.cedar:1:1',
    '"evil.example"',
  ],
  [
    'the same in a list',
    'forbid (principal, action, resource is Host) when { ["a.example", "Evil.example"].contains(resource.name) };',
    'ops.cedar:1:1',
    '"evil.example"',
  ],
  [
    'the same under a test of its type',
    'forbid (principal, action, resource) when { resource is Host && resource.name == "Evil.example" };',
    'ops.cedar:1:1',
    '"evil.example"',
  ],
  [
    'a pattern in capitals',
    'forbid (principal, action == Action::"net.egress", resource) when { resource.name like "*.Evil.example" };',
    'ops.cedar:1:1',
    '"*.evil.example"',
  ],
  [
    'a pattern of a URL',
    'forbid (principal, action == Action::"net.egress", resource) when { resource.authority like "https://*" };',
    'ops.cedar:1:1',
    'no host',
  ],
  [
    'a name with a port',
    'forbid (principal, action == Action::"net.egress", resource) when { resource.name == "evil.example:443" };',
    'ops.cedar:1:1',
    'resource.authority',
  ],
  ['an agent in capitals', 'forbid (principal == Agent::"Chat Bot", action, resource);', 'ops.cedar:1:1', 'Agent::"chat-bot"'],
  ['a model without its provider', 'forbid (principal, action, resource == Model::"gpt-9");', 'ops.cedar:1:1', 'resource.model == "gpt-9"'],
  ...['/etc/x', './data/a', 'data//a', 'data/../a', 'data/', 'data/./*'].map((path): [string, string, string, string] => [
    `the path ${path} of a file`,
    `forbid (principal, action, resource == Tool::"fs_read") when { context.arguments has path && context.arguments.path like "${path}" };`,
    'ops.cedar:1:1',
    'by its plain path',
  ]),
  ['two policies of one id', `@id("a") ${permitAll} @id("a") ${permitAll}`, '', 'operator:ops.cedar:a'],
])('refuses %s, naming the place, and keeps the old policies [verifies policy.schema.validated]', (_, text, place, what) => {
  const engine = createTestEngine({ sources: [{ name: 'old', text: permitAll }] });
  const before = engine.version;
  expect(() => engine.prepare([{ name: 'ops.cedar', text }])).toThrow(
    expect.objectContaining({
      code: 'invalid_request',
      message: expect.stringMatching(new RegExp(`${literally(place)}[\\s\\S]*${literally(what)}`)),
    }),
  );
  expect(engine.version).toBe(before);
  expect(engine.decide(toolRequest('t'))).toMatchObject({ effect: 'allow', reasons: ['operator:old:0'], policyVersion: before });
});

function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

it('refuses two sources of one name, and bad sources at the start', () => {
  const source = { name: 'a', text: permitAll };
  expect(() => createTestEngine({ sources: [source, source] })).toThrow('two policy sources are named "a"');
  expect(() => createTestEngine({ sources: [{ name: 'default', text: permitAll }] })).toThrow(/named "default"/);
});

it('refuses a source that is too long before it is parsed', () => {
  const text = `${permitAll}\n// ${' '.repeat(2_000_000)}`;
  expect(() => createTestEngine({ sources: [{ name: 'long', text }] })).toThrow(/policy long: it is longer than 2000000 characters/);
});

it('answers by the new policies at once after a replacement, and forgets what it remembered', () => {
  const engine = createTestEngine();
  const first = engine.decide(toolRequest('t'));
  engine.prepare([{ name: 'ops', text: permitAll }]).use();
  const second = engine.decide(toolRequest('t'));
  engine.prepare([]).use();
  const third = engine.decide(toolRequest('t'));
  expect([first.effect, second.effect, third.effect]).toEqual(['deny', 'allow', 'deny']);
  expect(second.policyVersion).not.toBe(first.policyVersion);
  expect(third.policyVersion).toBe(first.policyVersion);
});

it('gives the same version to the same policies, in every process', () => {
  const sources = [{ name: 'ops', text: permitAll }];
  expect(createTestEngine({ sources }).version).toBe(createTestEngine({ sources }).version);
  expect(createTestEngine({ sources: [{ name: 'ops', text: `${permitAll} ` }] }).version).not.toBe(createTestEngine({ sources }).version);
});

it('names policies in the order of the text when they have no id', () => {
  const text = Array.from(
    { length: 12 },
    (_, index) => `permit (principal, action == Action::"tool.execute", resource == Tool::"t${index}");`,
  ).join('\n');
  const engine = createTestEngine({ sources: [{ name: 'ops', text }] });
  expect([2, 10, 11].map((index) => engine.decide(toolRequest(`t${index}`)).reasons)).toEqual([
    ['operator:ops:2'],
    ['operator:ops:10'],
    ['operator:ops:11'],
  ]);
});

it('stays right when more sets were prepared than are kept', () => {
  const engine = createTestEngine({ memoEntries: 0 });
  const ask = (index: number) =>
    engine.decide(toolRequest(`t${index}`, { agentPolicy: { allow: [`t${index}`], deny: [`t${index}0`] } })).effect;
  for (let index = 1; index <= 700; index++) expect(ask(index)).toBe('allow');
  expect(ask(1)).toBe('allow');
  expect(engine.decide(toolRequest('t10', { agentPolicy: { allow: ['t1*'], deny: ['t10'] } })).effect).toBe('deny');
});

it('accepts the examples of the handbook, together', async () => {
  const page = await readFile(new URL('../../../../../docs/policies.md', import.meta.url), 'utf8');
  const examples = [...page.matchAll(/```cedar\n([\s\S]*?)```/g)].map(([, text], index) => ({
    name: `example-${index}`,
    text: text ?? '',
  }));
  expect(examples.length).toBeGreaterThan(1);
  const engine = createTestEngine({ sources: examples });
  const pay = (amount: unknown) =>
    engine.decide(toolRequest('pay', { agentPolicy: { allow: ['pay'] }, context: { arguments: { amount } } })).effect;
  expect([pay(50), pay(50.01), pay(undefined), pay('1')]).toEqual(['allow', 'deny', 'deny', 'deny']);
});

it('ships defaults that are valid', () => {
  expect(() => createTestEngine({ sources: [{ name: 'a copy of the defaults', text: defaultPolicies.text }] })).not.toThrow();
});

it('takes hosts and paths in the form in which they are compared [verifies policy.one-form]', () => {
  const text = `
    forbid (principal, action, resource == Host::"evil.example");
    forbid (principal, action, resource) when { resource in [Host::"::1", Host::"xn--bcher-kva.example"] };
    forbid (principal, action == Action::"net.egress", resource) when { resource.name like "*.evil.example" || resource.authority == "[::1]:443" };
    forbid (principal, action, resource is Tool) when { resource.name == "Some.Tool" };
    forbid (principal, action, resource == Tool::"fs_read") when { context.arguments has path && context.arguments.path like "data/*.csv" };
    forbid (principal, action, resource == Tool::"other") when { context.arguments has path && context.arguments.path like "/etc/*" };`;
  expect(() => createTestEngine({ sources: [{ name: 'ops', text }] })).not.toThrow();
});
