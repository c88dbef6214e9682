import { AdminAction, type PolicyShortForm } from '@nexus-agent/protocol';
import { describe, expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import { createTestEngine, hostRequest, modelRequest, toolRequest, userRequest } from '#policy/testing';

function engineWith(text: string) {
  return createTestEngine({ sources: [{ name: 'ops.cedar', text }] });
}

describe('the defaults', () => {
  const engine = createTestEngine();

  it('denies a tool that nothing permits [verifies policy.default.deny]', () => {
    expect(engine.decide(toolRequest('fs_read'))).toEqual({
      effect: 'deny',
      action: 'tool.execute',
      principal: 'Agent::"chat"',
      resource: 'Tool::"fs_read"',
      reasons: ['default-deny'],
      policyVersion: engine.version,
    });
  });

  it('denies hosts and secrets', () => {
    expect(engine.decide(hostRequest('example.com')).effect).toBe('deny');
    expect(engine.decide(toolRequest('', { action: 'secret.use', resource: { type: 'Secret', id: 'token' } })).effect).toBe('deny');
  });

  it('lets an agent use the models of its definition', () => {
    expect(engine.decide(modelRequest('sim/large'))).toMatchObject({ effect: 'allow', reasons: ['default:agent-uses-declared-models'] });
    expect(engine.decide(modelRequest('sim/large', { declared: false })).effect).toBe('deny');
  });

  it('denies a model whose price is not known, also when nobody said so [verifies budget.price.unknown]', () => {
    expect(engine.decide(modelRequest('sim/large', { priceKnown: false })).effect).toBe('deny');
    expect(engine.decide(modelRequest('sim/large', { context: {} })).effect).toBe('deny');
  });

  it('lets an operator accept a model without a price', () => {
    const accepting = engineWith('permit (principal is Agent, action == Action::"model.invoke", resource == Model::"local/llama");');
    expect(accepting.decide(modelRequest('local/llama', { priceKnown: false })).reasons).toEqual(['operator:ops.cedar:0']);
  });

  it('lets a person start runs, and an agent only its sub-agents', () => {
    const resource = { type: 'Agent', id: 'chat' } as const;
    expect(engine.decide(userRequest({ action: 'run.start', resource })).effect).toBe('allow');
    expect(engine.decide(toolRequest('', { action: 'run.start', resource })).effect).toBe('deny');
    const declared = { ...resource, attributes: { declared: true } };
    expect(engine.decide(toolRequest('', { action: 'run.start', resource: declared })).effect).toBe('allow');
  });

  it('lets a person answer approvals, those of a role only with that role', () => {
    const plain = { type: 'Approval', id: 'apr_1' } as const;
    const forLead = { ...plain, attributes: { role: 'lead' } };
    expect(engine.decide(userRequest({ action: 'approval.grant', resource: plain })).effect).toBe('allow');
    expect(engine.decide(userRequest({ action: 'approval.grant', resource: forLead })).reasons).toEqual(['default:approval-needs-role']);
    expect(engine.decide(userRequest({ action: 'approval.grant', resource: forLead, roles: ['lead'] })).effect).toBe('allow');
    expect(engine.decide(userRequest({ action: 'approval.grant', resource: forLead, roles: ['owner'] })).effect).toBe('allow');
  });

  it('never lets an agent answer an approval', () => {
    const engineOpen = engineWith('permit (principal, action, resource);');
    expect(engineOpen.decide(toolRequest('', { action: 'approval.grant', resource: { type: 'Approval', id: 'apr_1' } }))).toMatchObject({
      effect: 'deny',
      reasons: ['invalid-request'],
      errors: [expect.stringContaining('Agent')],
    });
  });

  it('lets only owners and administrators administer', () => {
    const resource = { type: 'System', id: 'keys' } as const;
    for (const action of AdminAction.options) {
      expect(engine.decide(userRequest({ action, resource })).effect).toBe('deny');
      expect(engine.decide(userRequest({ action, resource, roles: ['developer', 'lead'] })).reasons).toEqual(['default-deny']);
      const shared = action === 'admin.definitions' || action === 'admin.retention';
      const admin = userRequest({ action, resource, roles: ['admin'] });
      expect(engine.decide(admin).effect).toBe(shared ? 'deny' : 'allow');
      expect(engine.decide({ ...admin, principal: { ...admin.principal, tenant: 'default' } }).effect).toBe('allow');
      expect(engine.decide(userRequest({ action, resource, roles: ['owner'] })).reasons).toEqual(['default:admin-administers']);
      const metrics = { action, resource: { type: 'System', id: 'metrics' } } as const;
      expect(engine.decide(userRequest({ ...metrics, roles: ['admin'] })).effect).toBe('deny');
      expect(engine.decide(userRequest({ ...metrics, roles: ['owner'] })).effect).toBe('allow');
    }
  });

  it('lets operators speak of one administrative action, or of all together', () => {
    const admin = (action: AdminAction) => userRequest({ action, resource: { type: 'System', id: 'keys' }, roles: ['admin'] });
    const keys = engineWith('forbid (principal, action == Action::"admin.keys", resource) unless { principal.roles.contains("owner") };');
    expect([keys.decide(admin('admin.keys')).effect, keys.decide(admin('admin.agents')).effect]).toEqual(['deny', 'allow']);
    const all = engineWith('@id("frozen") forbid (principal, action in Action::"admin", resource);');
    for (const action of AdminAction.options) expect(all.decide(admin(action)).reasons).toEqual(['operator:ops.cedar:frozen']);
    const both = engineWith('forbid (principal, action in [Action::"admin", Action::"run.start"], resource);');
    expect(both.decide(admin('admin.budgets')).effect).toBe('deny');
  });
});

describe('failing closed', () => {
  it('denies when the condition of a forbid errs, which Cedar itself would skip [verifies policy.error.denies]', () => {
    const engine = engineWith(`
      permit (principal, action == Action::"tool.execute", resource);
      @id("overflow") forbid (principal, action == Action::"tool.execute", resource)
      when { context has step && context.step + 9223372036854775807 > 0 };`);
    expect(engine.decide(toolRequest('fs_read')).effect).toBe('allow');
    expect(engine.decide(toolRequest('fs_read', { context: { step: 1 } }))).toMatchObject({
      effect: 'deny',
      reasons: ['operator:ops.cedar:overflow'],
      errors: [expect.stringMatching(/^operator:ops\.cedar:overflow: .*overflow/)],
    });
  });

  it.each([
    ['a text where policies expect a number', { arguments: { amount: '5' } }],
    ['null', { arguments: { amount: null } }],
    ['a number beyond what is exact', { arguments: { amount: 2 ** 60 } }],
    ['arguments that are no object', { arguments: 'amount=5' }],
  ])('denies what it cannot judge: %s', (_, context) => {
    const engine = engineWith(`
      permit (principal, action == Action::"tool.execute", resource);
      forbid (principal, action == Action::"tool.execute", resource) when { context.arguments has amount && context.arguments.amount > 100 };`);
    expect(engine.decide(toolRequest('pay', { context: { arguments: { amount: 100 } } })).effect).toBe('allow');
    expect(engine.decide(toolRequest('pay', { context: { arguments: { amount: 101 } } })).effect).toBe('deny');
    expect(engine.decide(toolRequest('pay', { context }))).toMatchObject({
      effect: 'deny',
      reasons: ['invalid-request'],
      errors: [expect.any(String)],
    });
  });

  it('never throws, whatever it is asked', () => {
    const engine = engineWith('forbid (principal, action, resource) when { context.argumentsJson like "*x*" };');
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    expect(engine.decide(toolRequest('fs_read', { context: { arguments: circular } }))).toMatchObject({
      effect: 'deny',
      reasons: ['evaluation-error'],
    });
    const unknownAction = { ...toolRequest('fs_read'), action: 'tool.explode' } as unknown as Parameters<typeof engine.decide>[0]; // wrong on purpose
    expect(engine.decide(unknownAction)).toMatchObject({ effect: 'deny', errors: [expect.any(String)] });
  });

  it('denies a malformed short form instead of ignoring it', () => {
    const agentPolicy = { allow: ['*'], deny: ['fs_"read'] };
    expect(createTestEngine().decide(toolRequest('fs_read', { agentPolicy }))).toMatchObject({
      effect: 'deny',
      reasons: ['evaluation-error'],
    });
  });
});

describe('what policies can read', () => {
  it('decides on the actual arguments, each time [verifies policy.arguments.actual]', () => {
    const engine = engineWith(`permit (principal, action == Action::"tool.execute", resource == Tool::"fs_read")
      when { context.arguments has path && context.arguments.path like "reports/*" };`);
    const effectOf = (path: string) => engine.decide(toolRequest('fs_read', { context: { arguments: { path, limit: 3 } } })).effect;
    expect([effectOf('reports/a'), effectOf('/etc/passwd'), effectOf('reports/b'), effectOf('/etc/passwd')]).toEqual([
      'allow',
      'deny',
      'allow',
      'deny',
    ]);
  });

  it('reads decimals, lists, presence, whole arguments, and the time', () => {
    const clock = createManualClock(Date.UTC(2026, 0, 1, 3));
    const engine = createTestEngine({
      clock,
      sources: [
        {
          name: 'ops',
          text: `permit (principal, action == Action::"tool.execute", resource);
          @id("amount") forbid (principal, action, resource) when { context.arguments has amount && context.arguments.amount.greaterThan(decimal("9.5")) };
          @id("tags") forbid (principal, action, resource) when { context.arguments has tags && context.arguments.tags.contains("secret") };
          @id("force") forbid (principal, action, resource) when { context.arguments has force };
          @id("deep") forbid (principal, action, resource) when { context.argumentsJson like "*\\"mode\\":\\"raw\\"*" };
          @id("night") forbid (principal, action, resource) when { context.time.toTime() < duration("3h") };`,
        },
      ],
    });
    const reasonsFor = (args: unknown) => engine.decide(toolRequest('t', { context: { arguments: args } })).reasons;
    expect(reasonsFor({ amount: 9.5, tags: ['a'] })).toEqual(['operator:ops:0']);
    expect(reasonsFor({ amount: 9.51 })).toEqual(['operator:ops:amount']);
    expect(reasonsFor({ tags: ['a', 'secret'] })).toEqual(['operator:ops:tags']);
    expect(reasonsFor({ force: { any: 'thing' } })).toEqual(['operator:ops:force']);
    expect(reasonsFor({ options: { mode: 'raw' } })).toEqual(['operator:ops:deep']);
    clock.advance(22 * 3_600_000);
    expect(reasonsFor({})).toEqual(['operator:ops:night']);
  });

  it('sees the attributes of a tool, a host and an agent that acts on itself', () => {
    const engine = engineWith(`
      permit (principal, action == Action::"tool.execute", resource is Tool) when { resource has effects && resource.effects == "none" };
      permit (principal, action == Action::"net.egress", resource is Host) when { resource.name == "example.com" && resource has port && resource.port == 443 };
      permit (principal is Agent, action == Action::"run.start", resource is Agent) when { principal == resource && resource.tenant == "acme" };`);
    expect(
      engine.decide(toolRequest('a', { resource: { type: 'Tool', id: 'a', attributes: { effects: 'none', other: {} } } })).effect,
    ).toBe('allow');
    expect(engine.decide(toolRequest('a', { resource: { type: 'Tool', id: 'a', attributes: { effects: 'once' } } })).effect).toBe('deny');
    expect(
      engine.decide(hostRequest('Example.com.', { resource: { type: 'Host', id: 'Example.com.', attributes: { port: 443 } } })).effect,
    ).toBe('allow');
    expect(engine.decide(toolRequest('', { action: 'run.start', resource: { type: 'Agent', id: 'chat' } })).effect).toBe('allow');
    expect(engine.decide(toolRequest('', { action: 'run.start', resource: { type: 'Agent', id: 'other' } })).effect).toBe('deny');
  });
});

describe('hosts are compared in one form, however they are written', () => {
  const engine = engineWith(`
    permit (principal, action == Action::"net.egress", resource);
    @id("name") forbid (principal, action, resource == Host::"evil.example");
    @id("other-letters") forbid (principal, action, resource == Host::"xn--bcher-kva.example");
    @id("address") forbid (principal, action, resource == Host::"127.0.0.1");
    @id("v6") forbid (principal, action == Action::"net.egress", resource) when { resource.authority == "[::1]:443" };`);

  it.each([
    ['Evil.Example', 'name'],
    ['evil.example.', 'name'],
    ['evil.example..', 'name'],
    ['evil.example:8443', 'name'],
    ['EVIL.example.:80', 'name'],
    ['evi%6c.example', 'name'],
    ['b\u00fccher.example', 'other-letters'],
    ['0x7f.1', 'address'],
    ['[0:0::1]:443', 'v6'],
  ])('%s [verifies policy.one-form]', (host, id) => {
    expect(engine.decide(hostRequest(host))).toMatchObject({ effect: 'deny', reasons: [`operator:ops.cedar:${id}`] });
  });

  it('and what is no host is denied, whatever is permitted', () => {
    expect(engine.decide(hostRequest('good.example')).effect).toBe('allow');
    for (const host of ['', 'https://good.example', 'good.example/x', 'a b', '[::1'])
      expect(engine.decide(hostRequest(host))).toMatchObject({ effect: 'deny', reasons: ['invalid-request'] });
  });
});

it('a port is known to policies wherever a tool writes it [verifies policy.one-form]', () => {
  const engine = engineWith(
    'forbid (principal, action == Action::"net.egress", resource) when { resource has port && resource.port == 443 };',
  );
  const effectOf = (id: string, attributes = {}) =>
    engine.decide(hostRequest(id, { agentPolicy: { allow: ['net:*'] }, resource: { type: 'Host', id, attributes } })).effect;
  expect([effectOf('a.example:443'), effectOf('a.example', { port: 443 }), effectOf('[::1]:443'), effectOf('a.example:80')]).toEqual([
    'deny',
    'deny',
    'deny',
    'allow',
  ]);
  expect(effectOf('*.a.example')).toBe('deny');
});

it('an argument may have any name, also one that objects have by themselves', () => {
  const engine = engineWith('forbid (principal, action == Action::"tool.execute", resource) when { context.arguments has "__proto__" };');
  const decide = (text: string) =>
    engine.decide(toolRequest('t', { agentPolicy: { allow: ['*'] }, context: { arguments: JSON.parse(text) } })).effect;
  expect([decide('{"__proto__":1}'), decide('{}')]).toEqual(['deny', 'allow']);
});

describe('obligations', () => {
  function decideWith(...obligations: string[]) {
    const permits = obligations.map((text) => `@obligation("${text}") permit (principal, action, resource);`);
    const engine = engineWith(permits.join('\n'));
    return (approved?: { by: string; role?: string }) =>
      engine.decide(toolRequest('t', { context: approved === undefined ? {} : { approved } }));
  }

  it('asks for an approval and is content with it', () => {
    const decide = decideWith('require_approval');
    expect(decide()).toMatchObject({ effect: 'require_approval', obligations: [{ type: 'require_approval' }] });
    expect(decide({ by: 'ada' })).toMatchObject({ effect: 'allow' });
    expect(decide({ by: 'ada' }).obligations).toBeUndefined();
  });

  it('a role beats none, and only that role or an owner satisfies it', () => {
    const decide = decideWith('require_approval', 'require_approval:role=lead');
    expect(decide().obligations).toEqual([{ type: 'require_approval', role: 'lead' }]);
    expect(decide({ by: 'ada' }).effect).toBe('require_approval');
    expect(decide({ by: 'ada', role: 'viewer' }).effect).toBe('require_approval');
    expect(decide({ by: 'ada', role: 'lead' }).effect).toBe('allow');
    expect(decide({ by: 'ada', role: 'owner' }).effect).toBe('allow');
  });

  it('denies when two roles would have to approve at once', () => {
    expect(decideWith('require_approval:role=lead', 'require_approval:role=security')({ by: 'ada', role: 'owner' })).toMatchObject({
      effect: 'deny',
      errors: [expect.stringContaining('lead and security')],
    });
  });

  it('keeps the lowest cap, also beside an approval [verifies policy.obligation.cap-tokens]', () => {
    expect(decideWith('cap_tokens:500', 'cap_tokens:200')()).toMatchObject({
      effect: 'allow',
      obligations: [{ type: 'cap_tokens', maxTokens: 200 }],
    });
    expect(decideWith('require_approval, cap_tokens:500', 'cap_tokens:900')()).toMatchObject({
      effect: 'require_approval',
      obligations: [{ type: 'require_approval' }, { type: 'cap_tokens', maxTokens: 500 }],
    });
  });

  it.each(['encrypt', 'cap_tokens:0', 'cap_tokens:many', 'require_approval:role=', 'require_approval:rule=lead', ''])(
    'refuses an unknown obligation when it is loaded, and denies where it is in force: "%s" [verifies policy.obligation.unknown]',
    (text) => {
      const sources = [
        { name: 'ops.cedar', text: `@obligation("${text}") permit (principal, action == Action::"tool.execute", resource);` },
      ];
      const engine = engineWith('');
      expect(() => engine.prepare(sources)).toThrow(
        expect.objectContaining({
          code: 'invalid_request',
          message: expect.stringMatching(/^policy ops\.cedar:1:1: unknown obligation ".*"; /),
        }),
      );
      engine.prepare(sources, { inForce: true }).use();
      expect(engine.decide(toolRequest('t', { context: { approved: { by: 'ada', role: 'owner' } } }))).toMatchObject({
        effect: 'deny',
        errors: [expect.stringContaining('unknown obligation')],
      });
    },
  );

  it.each([
    ['require_aproval', 'an approval is asked for by require_approval'],
    ['cap_token:5', 'a cap is a whole number of tokens from 1, as in cap_tokens:500'],
    ['log_full', 'known are require_approval, require_approval:role=<role> and cap_tokens:<tokens>'],
    ['require_approval:role=a, require_approval:role=b', 'one approval cannot be given by the roles a and b at once'],
  ])('says what would be right instead of %s', (text, right) => {
    expect(() => engineWith(`@obligation("${text}") permit (principal, action, resource);`)).toThrow(right);
  });

  it('takes an annotation without a text for an obligation that is not known', () => {
    expect(() => engineWith('@obligation permit (principal, action, resource);')).toThrow(/unknown obligation ""/);
  });

  it('a forbid wins over every approval, on the arguments that were approved', () => {
    const engine = engineWith(`@obligation("require_approval") permit (principal, action == Action::"tool.execute", resource);
      forbid (principal, action == Action::"tool.execute", resource) when { context.arguments has path && context.arguments.path like "/etc/*" };`);
    const decide = (path: string) => engine.decide(toolRequest('t', { context: { approved: { by: 'ada' }, arguments: { path } } })).effect;
    expect([decide('/tmp/a'), decide('/etc/a')]).toEqual(['allow', 'deny']);
  });

  it('an advice adds its obligation to what is permitted, and permits nothing itself', () => {
    const advice = '@advice @obligation("require_approval") permit (principal, action == Action::"tool.execute", resource);';
    const agentPolicy = { allow: ['fs_*'] };
    expect(engineWith(advice).decide(toolRequest('fs_read', { agentPolicy }))).toMatchObject({
      effect: 'require_approval',
      reasons: ['operator:ops.cedar:0', 'agent:allow[0]'],
    });
    expect(engineWith(advice).decide(toolRequest('other', { agentPolicy }))).toMatchObject({ effect: 'deny', reasons: ['default-deny'] });
  });
});

describe('what is never allowed, told ahead [verifies agents.vain]', () => {
  const never = (text: string, agentPolicy?: PolicyShortForm, tool = 'pay') =>
    createTestEngine({ sources: text === '' ? [] : [{ name: 'a.cedar', text }] }).allowsNothing({
      ...toolRequest(tool, agentPolicy === undefined ? {} : { agentPolicy }),
      resource: { type: 'Tool', id: tool, attributes: { effects: 'once', permissions: ['net.egress'] } },
    });
  const permitAll = 'permit (principal, action == Action::"tool.execute", resource);';

  it.each<[string, string, PolicyShortForm | undefined, boolean]>([
    ['nothing permits it', '', undefined, true],
    ['the agent allows another', '', { allow: ['fs_*'] }, true],
    ['the agent allows it', '', { allow: ['p*'] }, false],
    ['a person may approve it', '', { approve: ['pay'] }, false],
    ['the agent denies what it allows', '', { allow: ['*'], deny: ['pay'] }, true],
    ['the operator forbids it', 'forbid (principal, action, resource == Tool::"pay");', { allow: ['pay'] }, true],
    [
      'the operator forbids what it is',
      'forbid (principal, action, resource is Tool) when { resource has effects && resource.effects == "once" };',
      { allow: ['pay'] },
      true,
    ],
    [
      'the operator forbids some arguments',
      `${permitAll} forbid (principal, action, resource is Tool) when { context.arguments has x };`,
      undefined,
      false,
    ],
    [
      'some arguments are permitted',
      'permit (principal, action == Action::"tool.execute", resource) when { context.arguments has x };',
      undefined,
      false,
    ],
    [
      'another kind of tool is permitted',
      'permit (principal, action == Action::"tool.execute", resource) when { resource has effects && resource.effects == "none" };',
      undefined,
      true,
    ],
    [
      'it is forbidden, and some arguments permitted',
      'permit (principal, action == Action::"tool.execute", resource) when { context.arguments has x }; forbid (principal, action, resource == Tool::"pay");',
      undefined,
      true,
    ],
    [
      'an advice alone speaks of it',
      '@advice("a") @obligation("require_approval") permit (principal, action == Action::"tool.execute", resource);',
      undefined,
      true,
    ],
    [
      'one version is permitted',
      'permit (principal is Agent, action == Action::"tool.execute", resource) when { principal has version && principal.version == "agv_9" };',
      undefined,
      false,
    ],
  ])('%s', (_, text, agentPolicy, expected) => {
    expect(never(text, agentPolicy)).toBe(expected);
  });
});
