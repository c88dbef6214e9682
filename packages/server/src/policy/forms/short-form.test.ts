import { describe, expect, it } from 'vitest';
import { cedarRuntime } from '#policy/compile';
import { createTestEngine, hostRequest, modelRequest, toolRequest } from '#policy/testing';
import { compileAgentForm, compileSessionForm, defaultCeiling } from './short-form.ts';

const engine = createTestEngine();

describe('an agent', () => {
  const agentPolicy = {
    allow: ['fs_*', 'tool:code_js', 'net:*.example.com', 'net:api.test:8443'],
    approve: ['fs_write'],
    deny: ['fs_delete*'],
  };

  it.each([
    ['fs_read', 'allow', ['agent:allow[0]']],
    ['code_js', 'allow', ['agent:allow[1]']],
    ['fs_write', 'require_approval', ['agent:allow[0]', 'agent:approve[0]']],
    ['fs_delete_all', 'deny', ['agent:deny[0]']],
    ['http_fetch', 'deny', ['default-deny']],
  ])('%s: %s', (tool, effect, reasons) => {
    expect(engine.decide(toolRequest(tool, { agentPolicy }))).toMatchObject({ effect, reasons });
  });

  it.each([
    ['a.example.com', 'allow'],
    ['A.EXAMPLE.COM.', 'allow'],
    ['a.example.com:8080', 'allow'],
    ['example.com', 'deny'],
    ['evilexample.com', 'deny'],
    ['a.example.com.evil.org', 'deny'],
    ['api.test:8443', 'allow'],
    ['api.test:443', 'deny'],
    ['api.test', 'deny'],
  ])('host %s: %s', (host, effect) => {
    expect(engine.decide(hostRequest(host, { agentPolicy })).effect).toBe(effect);
  });

  it('without model patterns uses exactly the models of its definition', () => {
    expect(engine.decide(modelRequest('sim/large', { agentPolicy })).effect).toBe('allow');
    expect(engine.decide(modelRequest('sim/large', { agentPolicy, declared: false })).effect).toBe('deny');
  });

  it('with model patterns uses exactly the models that they match, by reference or by bare name', () => {
    const withModels = { allow: ['model:gpt-*', 'model:sim/*'] };
    const effectOf = (model: string, declared: boolean) => engine.decide(modelRequest(model, { agentPolicy: withModels, declared })).effect;
    expect(effectOf('openai/gpt-9', false)).toBe('allow');
    expect(effectOf('gpt-9', false)).toBe('allow');
    expect(effectOf('sim/small', false)).toBe('allow');
    expect(effectOf('anthropic/claude', true)).toBe('deny');
    expect(engine.decide(modelRequest('openai/gpt-9', { agentPolicy: withModels, priceKnown: false })).effect).toBe('deny');
  });

  it('uses the secrets that it is allowed, and a session closes others once it names one', () => {
    const policy = { allow: ['secret:GITHUB_*'], deny: ['secret:GITHUB_ROOT'] };
    const effectOf = (name: string, sessionPolicy?: { allow: string[] }) =>
      engine.decide({
        ...hostRequest('x', { agentPolicy: policy, ...(sessionPolicy === undefined ? {} : { sessionPolicy }) }),
        ...{ action: 'secret.use', resource: { type: 'Secret', id: name } },
      }).effect;
    expect(effectOf('GITHUB_TOKEN')).toBe('allow');
    expect(effectOf('GITHUB_ROOT')).toBe('deny');
    expect(effectOf('STRIPE_KEY')).toBe('deny');
    expect(effectOf('GITHUB_TOKEN', { allow: ['fs_*'] })).toBe('allow');
    expect(effectOf('GITHUB_TOKEN', { allow: ['secret:GITHUB_OTHER'] })).toBe('deny');
  });

  it.each(['model:gpt-*', 'net:*', 'secret:*'])(
    'is refused with %s under approve when it is stored, for nobody can give that approval [verifies policy.asked]',
    (entry) => {
      expect(() => engine.check({ approve: ['fs_write', entry] })).toThrow(
        expect.objectContaining({ code: 'invalid_request', message: expect.stringMatching(/^policy approve\[1\]: only tool calls wait/) }),
      );
      engine.check({ approve: ['fs_write', 'tool:http_fetch', '*'] });
    },
  );

  it('that was stored with a model under approve is denied it', () => {
    expect(engine.decide(modelRequest('openai/gpt-9', { agentPolicy: { approve: ['model:gpt-*'] } })).effect).toBe('require_approval');
  });

  it('a bare star means tools only', () => {
    expect(engine.decide(hostRequest('example.com', { agentPolicy: { allow: ['*'] } })).effect).toBe('deny');
  });
});

describe('a session', () => {
  const agentPolicy = { allow: ['fs_*', 'net:example.com'] };

  it.each([
    [{ allow: ['fs_read'] }, 'fs_read', 'allow', ['agent:allow[0]']],
    [{ allow: ['fs_read'] }, 'fs_list', 'deny', ['session:allow:tool']],
    [{ allow: [] }, 'fs_read', 'deny', ['session:allow:tool']],
    [{ allow: ['code_js'] }, 'code_js', 'deny', ['default-deny']],
    [{ deny: ['x', 'fs_w*'] }, 'fs_write', 'deny', ['session:deny[1]']],
    [{ deny: ['x', 'fs_w*'] }, 'fs_read', 'allow', ['agent:allow[0]']],
    [{ approve: ['fs_write'] }, 'fs_write', 'require_approval', ['agent:allow[0]', 'session:approve[0]']],
    [{ approve: ['code_js'] }, 'code_js', 'deny', ['default-deny']],
    [{ allow: ['fs_read'], approve: ['fs_write'] }, 'fs_write', 'require_approval', ['agent:allow[0]', 'session:approve[0]']],
    [{ allow: ['fs_*'], approve: ['fs_*'], deny: ['fs_*'] }, 'fs_write', 'deny', ['session:deny[0]']],
  ])('%j, %s: %s', (sessionPolicy, tool, effect, reasons) => {
    expect(engine.decide(toolRequest(tool, { agentPolicy, sessionPolicy }))).toMatchObject({ effect, reasons });
  });

  it('an allow list closes hosts that it does not name, and models only once it names one', () => {
    expect(engine.decide(hostRequest('example.com', { agentPolicy, sessionPolicy: { allow: ['fs_*'] } })).effect).toBe('deny');
    expect(engine.decide(hostRequest('example.com', { agentPolicy, sessionPolicy: { allow: ['net:*'] } })).effect).toBe('allow');
    expect(engine.decide(modelRequest('sim/large', { sessionPolicy: { allow: ['fs_*'] } })).effect).toBe('allow');
    expect(engine.decide(modelRequest('sim/large', { sessionPolicy: { allow: ['model:gpt-*'] } })).effect).toBe('deny');
  });

  it('holds whoever asks', () => {
    const open = createTestEngine({
      sources: [{ name: 'ops', text: 'permit (principal, action == Action::"tool.execute", resource);' }],
    });
    const principal = { type: 'User', id: 'ada', tenant: 'acme' } as const;
    expect(open.decide(toolRequest('fs_read', { principal, sessionPolicy: { deny: ['fs_*'] } })).effect).toBe('deny');
  });
});

describe('the Cedar text of a short form', () => {
  const form = {
    allow: ['fs_*', 'model:gpt-*', 'net:*.example.com'],
    approve: ['fs_write'],
    deny: ['fs_delete', 'model:b', 'net:c'],
  };

  it('stands under the ids that decisions give [verifies policy.short-form]', () => {
    expect(compileAgentForm({ allow: ['fs_*'], deny: ['net:a.b'] }).map(({ id, text }) => ({ id, text }))).toEqual([
      {
        id: 'agent:allow[0]',
        text: 'permit (principal is Agent, action == Action::"tool.execute", resource is Tool)\nwhen { (resource.name like "fs_*") };',
      },
      {
        id: 'agent:deny[0]',
        text: 'forbid (principal, action == Action::"net.egress", resource is Host)\nwhen { resource.name like "a.b" || resource.authority like "a.b" };',
      },
    ]);
    expect(compileSessionForm({ approve: ['fs_*'] })[0]?.text).toMatch(/^@advice @obligation\("require_approval"\) permit/);
  });

  it.each([{ allow: ['a b'] }, { deny: ['"'] }, { approve: [''] }, { allow: ['x'], permit: ['y'] }])('refuses %j', (wrong) => {
    expect(() => engine.check(wrong)).toThrow(expect.objectContaining({ code: 'invalid_request' }));
  });

  it('accepts what is well formed', () => {
    expect(() => engine.check(form)).not.toThrow();
  });
});

describe('hosts of a short form', () => {
  it.each([
    ['net:Example.COM', 'example.com'],
    ['net:example.com.', 'EXAMPLE.com'],
    ['net:*.Example.com:8443', 'a.example.com:8443'],
    ['net:0:0:0:0:0:0:0:1', '[::1]'],
    ['net:[0::1]:8443', '[::1]:8443'],
    ['net:127.1', '127.0.0.1'],
  ])('%s meets %s', (entry, host) => {
    const engine = createTestEngine();
    expect(() => engine.check({ allow: [entry] })).not.toThrow();
    expect(engine.decide(hostRequest(host, { agentPolicy: { allow: [entry] } })).effect).toBe('allow');
    expect(engine.decide(hostRequest(host, { agentPolicy: { allow: ['net:*'], deny: [entry] } })).effect).toBe('deny');
  });

  it.each(['net:https://example.com', 'net:example.com/path', 'net:user@example.com', 'net:example.com:99999'])(
    '%s names none: it is refused when it is stored, and one of old meets nothing',
    (entry) => {
      const engine = createTestEngine();
      expect(() => engine.check({ deny: [entry] })).toThrow(/deny\[0\]: .* names no host; .*net:example\.com/);
      expect(engine.decide(hostRequest('example.com', { agentPolicy: { allow: [entry] } })).effect).toBe('deny');
    },
  );
});

it('what is left of the defaults for tenants decides as their texts do', () => {
  const { cedar } = cedarRuntime();
  const attributes = [{}, { effects: 'none' }, { effects: 'once' }, { private: true }, { private: false }];
  const targets = [
    { action: 'tool.execute', type: 'Tool' },
    { action: 'model.invoke', type: 'Model' },
    { action: 'net.egress', type: 'Host' },
  ];
  for (const policy of defaultCeiling()) {
    for (const attrs of attributes) {
      for (const { action, type } of targets) {
        for (const priceKnown of [true, false]) {
          const decide = (asked: typeof policy.asked) =>
            cedar.isAuthorized({
              ...{ principal: { type: 'Agent', id: 'a' }, action: { type: 'Action', id: action }, resource: { type, id: 'a' } },
              context: { priceKnown },
              entities: [{ uid: { type, id: 'a' }, attrs: { ...attrs, name: 'a', ref: 'a', model: 'a', authority: 'a' }, parents: [] }],
              policies: { staticPolicies: { one: asked } },
            });
          expect(decide(policy.asked)).toEqual(decide(policy.text));
        }
      }
    }
  }
});
