import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchesWildcard } from '#core';
import type { DecisionRequest } from '#policy/compile';
import { createTestEngine, hostRequest, modelRequest, toolRequest, userRequest } from '#policy/testing';

const tenant = { type: 'Agent', id: 'analyst', tenant: 'acme', origin: 'tenant', version: 'agv_2' } as const;
const operators = { type: 'Agent', id: 'analyst', tenant: 'acme', origin: 'operator', version: 'agv_1' } as const;
const source = (text: string) => [{ name: 'a.cedar', text }];
const everything = { allow: ['*', 'net:*', 'model:*'] };

describe('who may permit', () => {
  const trusting = createTestEngine({
    sources: source(`
      @id("uid") permit (principal == Agent::"analyst", action == Action::"tool.execute", resource);
      @id("name") permit (principal is Agent, action == Action::"net.egress", resource) when { principal.name == "analyst" };
      @id("whole") permit (principal == Agent::"acme/analyst", action == Action::"tool.execute", resource == Tool::"fs_read");
      @id("version") permit (principal is Agent, action == Action::"tool.execute", resource == Tool::"pay")
      when { principal has version && principal.version == "agv_2" && principal.origin == "tenant" };`),
  });

  it("an operator's word on an agent of his is not one on a tenant's of that name", () => {
    expect(trusting.decide(toolRequest('fs_write', { principal: operators })).effect).toBe('allow');
    expect(trusting.decide(hostRequest('a.test', { principal: operators })).effect).toBe('allow');
    for (const agentPolicy of [undefined, {}, everything]) {
      const policy = agentPolicy === undefined ? {} : { agentPolicy };
      const attributes = { effects: 'none' };
      const request = toolRequest('fs_write', { principal: tenant, ...policy });
      expect(trusting.decide({ ...request, resource: { ...request.resource, attributes } }).effect).toBe('deny');
      expect(trusting.decide(hostRequest('a.test', { principal: tenant, ...policy })).effect).toBe('deny');
      expect(trusting.decide(toolRequest('fs_read', { principal: tenant, ...policy }))).toMatchObject({
        effect: 'allow',
        principal: 'Agent::"acme/analyst"',
        reasons: ['operator:a.cedar:whole'],
      });
    }
    expect(trusting.decide(toolRequest('pay', { principal: tenant })).effect).toBe('allow');
    expect(trusting.decide(toolRequest('pay', { principal: { ...tenant, version: 'agv_3' } })).effect).toBe('deny');
  });

  it('an agent of a tenant is known to policies on starting it by its whole name', () => {
    const engine = createTestEngine({
      sources: source('forbid (principal, action == Action::"run.start", resource == Agent::"acme/analyst");'),
    });
    const start = (origin: string) =>
      engine.decide(userRequest({ action: 'run.start', resource: { type: 'Agent', id: 'analyst', attributes: { origin } } })).effect;
    expect([start('tenant'), start('operator')]).toEqual(['deny', 'allow']);
  });

  it('without a word of the operator, an agent of a tenant has what can be done twice, public hosts and models, where it asks for them', () => {
    const engine = createTestEngine();
    const ask = (request: DecisionRequest, agentPolicy: DecisionRequest['agentPolicy'] = everything) =>
      engine.decide({ ...request, principal: tenant, ...(agentPolicy === undefined ? {} : { agentPolicy }) }).effect;
    const tool = (effects?: string) => ({
      ...toolRequest('t'),
      resource: { type: 'Tool', id: 't', attributes: effects === undefined ? {} : { effects } } as const,
    });
    expect([ask(tool('none')), ask(tool('idempotent')), ask(tool('once')), ask(tool())]).toEqual(['allow', 'allow', 'deny', 'deny']);
    expect(ask(tool('none'), {})).toBe('deny');
    expect(ask(tool('none'), { approve: ['t'] })).toBe('require_approval');
    expect(ask(tool('none'), { approve: ['u'] })).toBe('deny');
    const host = (attributes: Record<string, boolean>) => ({
      ...hostRequest('a.test'),
      resource: { type: 'Host', id: 'a.test', attributes } as const,
    });
    expect([ask(host({})), ask(host({ private: true })), ask(host({}), { allow: ['*'] })]).toEqual(['allow', 'deny', 'deny']);
    expect(ask(modelRequest('sim/a', { declared: false }))).toBe('allow');
    expect(ask(modelRequest('sim/a', { declared: false }), { allow: ['*'] })).toBe('deny');
    expect(ask({ ...toolRequest(''), action: 'secret.use', resource: { type: 'Secret', id: 's' } })).toBe('deny');
  });

  it('what the operator lists for tenants stands in place of that, and is refused at once where it is no short form', () => {
    const engine = createTestEngine({ tenantsAllow: ['fs_*', 'net:127.0.0.1'] });
    const ask = (request: DecisionRequest) => engine.decide({ ...request, principal: tenant, agentPolicy: everything }).effect;
    expect([ask(toolRequest('fs_read')), ask(toolRequest('code_js')), ask(hostRequest('127.0.0.1')), ask(hostRequest('a.test'))]).toEqual([
      'allow',
      'deny',
      'allow',
      'deny',
    ]);
    expect(() => createTestEngine({ tenantsAllow: ['net:https://a/'] })).toThrow(/names no host/);
  });

  it('an operator may take the permitting from agents of his own as well', () => {
    const engine = createTestEngine({
      agentsPermit: false,
      sources: source('permit (principal, action == Action::"tool.execute", resource == Tool::"fs_read");'),
    });
    const ask = (tool: string, allow: string[]) =>
      engine.decide(toolRequest(tool, { principal: operators, agentPolicy: { allow } })).effect;
    expect([ask('fs_read', ['*']), ask('fs_write', ['*']), ask('fs_read', ['fs_write'])]).toEqual(['allow', 'deny', 'deny']);
  });
});

it('never allows an agent of a tenant more than the operator, the agent and the session each do [verifies hostile.policy.intersection]', () => {
  const names = ['fs_read', 'fs_write', 'code_js', 'pay'];
  const hosts = ['a.test', 'b.a.test', '127.0.0.1'];
  const pattern = fc.constantFrom('*', 'fs_*', 'fs_read', 'pay', 'net:*', 'net:*.test', 'net:127.0.0.1');
  const list = fc.option(fc.array(pattern, { maxLength: 3 }), { nil: undefined });
  const form = fc.record({ allow: list, deny: list }).map(({ allow, deny }) => ({
    ...(allow === undefined ? {} : { allow }),
    ...(deny === undefined ? {} : { deny }),
  }));
  const permits = fc.array(fc.tuple(fc.constantFrom(...names, ...hosts), fc.constantFrom('permit', 'permit', 'forbid')), { maxLength: 5 });
  const matches = (patterns: readonly string[], isHost: boolean, name: string) =>
    patterns.some((one) => one.startsWith('net:') === isHost && matchesWildcard(one.replace('net:', ''), name));
  const narrows = ({ allow, deny = [] }: { allow?: readonly string[]; deny?: readonly string[] }, isHost: boolean, name: string) =>
    (allow === undefined || matches(allow, isHost, name)) && !matches(deny, isHost, name);
  fc.assert(
    fc.property(permits, form, form, fc.constantFrom(...names, ...hosts), (rules, agentPolicy, sessionPolicy, name) => {
      const isHost = hosts.includes(name);
      const text = rules.map(([of, effect]) =>
        hosts.includes(of)
          ? `${effect} (principal, action == Action::"net.egress", resource == Host::"${of}");`
          : `${effect} (principal, action == Action::"tool.execute", resource == Tool::"${of}");`,
      );
      const engine = createTestEngine({ sources: source(text.join('\n')), tenantsAllow: [] });
      const request = isHost ? hostRequest(name) : toolRequest(name);
      const { effect } = engine.decide({ ...request, principal: tenant, agentPolicy, sessionPolicy });
      const said = rules.filter(([of]) => of === name).map(([, word]) => word);
      const operator = said.includes('permit') && !said.includes('forbid');
      expect(effect === 'allow').toBe(operator && narrows(agentPolicy, isHost, name) && narrows(sessionPolicy, isHost, name));
    }),
    { numRuns: 40 },
  );
});

describe('files are asked about', () => {
  const ask = (path: string, text: string) =>
    createTestEngine({ sources: source(text) }).decide({ ...toolRequest(''), action: 'file.read', resource: { type: 'File', id: path } });

  it('in one form, by path, name and extension', () => {
    const forbid = (what: string) => `forbid (principal, action == Action::"file.read", resource is File) when { ${what} };`;
    for (const path of ['keys/a.pem', 'KEYS/A.PEM', 'keys/ﬀ.pem', '.pem', 'a.b.Pem', 'keys/A\u030a.pem'])
      expect(ask(path, forbid('resource.extension == "pem"')).effect, path).toBe('deny');
    expect(ask('a/K\u0065\u0301Y.txt', forbid('resource.path like "a/k\u00e9y*"')).effect).toBe('deny');
    expect(ask('x/Passwd', forbid('resource.name == "passwd"')).effect).toBe('deny');
    expect(ask('a.txt', forbid('resource.extension == "pem"'))).toMatchObject({
      effect: 'allow',
      reasons: ['default:agent-uses-session-files'],
    });
  });

  it('and a rule in another form than that is refused when it is loaded, with the right one', () => {
    const load = (what: string) => () =>
      createTestEngine({ sources: source(`forbid (principal, action == Action::"file.read", resource is File) when { ${what} };`) });
    expect(load('resource.path like "./keys/*.PEM"')).toThrow(/never is .*files are compared as "keys\/\*\.pem"/);
    expect(load('resource.name == "keys/a"')).toThrow(/compare resource\.path/);
    expect(load('resource.extension == ".pem"')).toThrow(/compare "pem"/);
    expect(load('resource.name == "cafe\u0301"')).toThrow(/files are compared as "café"/);
    expect(() =>
      createTestEngine({ sources: source('forbid (principal, action == Action::"file.read", resource == File::"A.pem");') }),
    ).toThrow(/compared as File::"a\.pem"/);
    expect(() => createTestEngine({ sources: source('forbid (principal == Agent::"default/chat", action, resource);') })).toThrow(
      /bare name/,
    );
  });
});
