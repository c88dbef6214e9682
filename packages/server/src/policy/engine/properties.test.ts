import { PolicyAction, type PolicyShortForm } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { matchesWildcard, NexusError } from '#core';
import { createManualClock } from '#core/testing';
import {
  cedarRuntime,
  compileSources,
  type DecisionRequest,
  defaultPolicies,
  InvalidRequest,
  resourceAttributes,
  resourceFacts,
} from '#policy/compile';
import { compileAgentForm, compileSessionForm } from '#policy/forms';
import { createTestEngine } from '#policy/testing';
import { projectRequest } from './request.ts';
import type { Decision, PolicyEngine } from './types.ts';

const conditions = [
  'context.arguments has path && context.arguments.path like "a/*"',
  'context.arguments has n && context.arguments.n > 5',
  'context.arguments has tags && context.arguments.tags.contains("x")',
  'context.arguments has force',
  'context.argumentsJson like "*force*"',
  'context has step && context.step > 2',
  // Errs for every step but 0: the sum overflows.
  'context has step && context.step + 9223372036854775807 > 3',
  'context.priceKnown',
  'context.time > datetime("2026-01-01T01:00:00Z")',
  'context has approved && context.approved has role && context.approved.role == "lead"',
  'context has sessionId && context.sessionId == "ses_1"',
  'principal.tenant == "acme"',
  'principal == Agent::"chat"',
  'principal in User::"ada"',
  'principal is User && principal.roles.contains("lead")',
  '(if context.priceKnown then principal else principal).tenant == "acme"',
  'resource is Tool && resource.name like "fs_*"',
  'resource is Tool && resource has effects && resource.effects == "none"',
  'resource is Model && resource has declared && resource.declared',
  'resource is Host && resource.authority like "*.test"',
  'resource is Tool && [resource, Tool::"other"].contains(Tool::"fs_read")',
  '{attr: context.priceKnown}.attr',
];
const condition = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 1 },
    fc.constantFrom(...conditions).map((text) => `(${text})`),
    fc.tuple(tie('any'), fc.constantFrom('&&', '||'), tie('any')).map(([left, operator, right]) => `(${left} ${operator} ${right})`),
    tie('any').map((text) => `!(${text})`),
  ),
})).any;
const policy = fc
  .record({
    effect: fc.constantFrom('permit', 'permit', 'forbid'),
    obligation: fc.constantFrom(
      '',
      '',
      '@obligation("require_approval") ',
      '@obligation("cap_tokens:7") ',
      '@advice @obligation("require_approval:role=lead") ',
    ),
    principal: fc.constantFrom(
      'principal',
      'principal is Agent',
      'principal == Agent::"chat"',
      'principal == User::"ada"',
      'principal in Agent::"other"',
    ),
    action: fc.constantFrom(
      'action',
      'action == Action::"tool.execute"',
      'action in [Action::"model.invoke", Action::"tool.execute", Action::"net.egress"]',
    ),
    resource: fc.constantFrom(
      'resource',
      'resource is Tool',
      'resource == Tool::"fs_read"',
      'resource == Model::"sim/a"',
      'resource in Host::"a.test"',
    ),
    clause: fc.oneof(
      fc.constant(''),
      condition.map((text) => `when { ${text} }`),
      condition.map((text) => `unless { ${text} }`),
    ),
  })
  .map(
    ({ effect, obligation, principal, action, resource, clause }) =>
      `${effect === 'forbid' || (obligation.includes('cap_tokens') && action.endsWith('"tool.execute"')) ? '' : obligation}${effect} (${principal}, ${action}, ${resource}) ${clause};`,
  );

const pattern = fc.constantFrom(
  'fs_*',
  'fs_read',
  'fs_write',
  '*',
  'code_js',
  'model:sim/*',
  'model:a',
  'net:*.test',
  'net:a.test',
  '*e*',
  'tool:*_*',
);
const patterns = fc.option(fc.array(pattern, { maxLength: 3 }), { nil: undefined });
const form = fc.option(
  fc.record({ allow: patterns, deny: patterns, approve: patterns }).map(({ allow, deny, approve }) => ({
    ...(allow === undefined ? {} : { allow }),
    ...(deny === undefined ? {} : { deny }),
    ...(approve === undefined ? {} : { approve }),
  })),
  { nil: undefined },
);

const target = fc.constantFrom<Pick<DecisionRequest, 'action' | 'resource'>>(
  { action: 'tool.execute', resource: { type: 'Tool', id: 'fs_read' } },
  { action: 'tool.execute', resource: { type: 'Tool', id: 'fs_read', attributes: { effects: 'none' } } },
  { action: 'tool.execute', resource: { type: 'Tool', id: 'fs_write' } },
  { action: 'tool.execute', resource: { type: 'Tool', id: 'code_js' } },
  { action: 'model.invoke', resource: { type: 'Model', id: 'sim/a', attributes: { declared: true } } },
  { action: 'model.invoke', resource: { type: 'Model', id: 'a' } },
  { action: 'net.egress', resource: { type: 'Host', id: 'a.test' } },
  { action: 'net.egress', resource: { type: 'Host', id: 'b.a.test:80' } },
  { action: 'run.start', resource: { type: 'Agent', id: 'chat' } },
);
const principal = fc.constantFrom<DecisionRequest['principal']>(
  { type: 'Agent', id: 'chat', tenant: 'acme' },
  { type: 'Agent', id: 'chat', tenant: 'other' },
  { type: 'Agent', id: 'other', tenant: 'acme' },
  { type: 'User', id: 'ada', tenant: 'acme', roles: ['lead'] },
  { type: 'User', id: 'ada', tenant: 'acme', roles: [] },
);
const context: fc.Arbitrary<DecisionRequest['context']> = fc.record(
  {
    arguments: fc.record(
      {
        path: fc.constantFrom<unknown>('a/b', 'c', 5),
        n: fc.constantFrom<unknown>(3, 9, 'x'),
        tags: fc.constantFrom(['x'], []),
        force: fc.boolean(),
      },
      { requiredKeys: [] },
    ),
    step: fc.constantFrom(0, 1, 3),
    priceKnown: fc.boolean(),
    sessionId: fc.constantFrom('ses_1', 'ses_2'),
    approved: fc.constantFrom({ by: 'ada' }, { by: 'ada', role: 'lead' }),
  },
  { requiredKeys: [] },
);
const request: fc.Arbitrary<DecisionRequest> = fc
  .record({ principal, target, context, agentPolicy: form, sessionPolicy: form })
  .map(({ target: { action, resource }, agentPolicy, sessionPolicy, ...rest }) => ({
    ...rest,
    action,
    resource,
    ...(agentPolicy === undefined ? {} : { agentPolicy }),
    ...(sessionPolicy === undefined ? {} : { sessionPolicy }),
  }));

/** Some random policies can never apply, and are refused. */
function engineOrSkip(...args: Parameters<typeof createTestEngine>): PolicyEngine {
  try {
    return createTestEngine(...args);
  } catch (error) {
    if (error instanceof NexusError && /impossible|applicable|at once|never is/.test(error.message)) fc.pre(false);
    throw error;
  }
}

const ResourceTypes = Object.keys(resourceAttributes) as DecisionRequest['resource']['type'][]; // the keys of the record are exactly these
const clock = createManualClock();
const { cedar } = cedarRuntime();

type Reference = (asked: DecisionRequest) => Pick<Decision, 'effect' | 'reasons'>;

/** Cedar asked directly, by the texts and held against the schema: all policies, nothing left out of the request. */
function referenceFor(text: string): (forms: Pick<DecisionRequest, 'agentPolicy' | 'sessionPolicy'>) => Reference {
  const { policies, schema, argumentTypes } = compileSources([defaultPolicies, ...(text === '' ? [] : [{ name: 'ops', text }])]);
  cedar.preparseSchema('reference', schema);
  const none = new Set<string>();
  const everything = { principal: none, resource: none, context: none, arguments: none, everything: true };
  return ({ agentPolicy, sessionPolicy }) => {
    const all = [
      ...policies,
      ...(agentPolicy === undefined ? [] : compileAgentForm(agentPolicy)),
      ...(sessionPolicy === undefined ? [] : compileSessionForm(sessionPolicy)),
    ];
    cedar.preparsePolicySet('reference', { staticPolicies: Object.fromEntries(all.map((one) => [one.id, one.text])) });
    return (asked) => {
      const answer = cedar.statefulIsAuthorized({
        ...projectRequest(asked, resourceFacts(asked.resource, asked.principal.tenant), everything, argumentTypes, clock.now).call,
        preparsedSchemaName: 'reference',
        preparsedPolicySetId: 'reference',
        validateRequest: true,
      });
      if (answer.type === 'failure') throw new Error(answer.errors.map(({ message }) => message).join());
      const { decision, diagnostics } = answer.response;
      if (diagnostics.errors.length > 0) return { effect: 'deny', reasons: diagnostics.errors.map(({ policyId }) => policyId).sort() };
      const advised = new Set(all.filter(({ advice }) => advice).map(({ id }) => id));
      const reasons = diagnostics.reason.sort();
      if (decision === 'deny') return { effect: 'deny', reasons: reasons.length > 0 ? reasons : ['default-deny'] };
      return reasons.every((id) => advised.has(id)) ? { effect: 'deny', reasons: ['default-deny'] } : { effect: 'allow', reasons };
    };
  };
}

/** Forms whose entries and resources meet, miss and nearly meet each other. */
const piece = fc.constantFrom('a', 'ab', 'b', '_', '.', '-', 'x9');
const nameOf = fc.array(piece, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''));
const glob = fc.array(fc.oneof(piece, fc.constant('*')), { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''));
const entry = fc.oneof(
  glob.filter((text) => /^[\w*.:/-]+$/.test(text)),
  glob.map((text) => `model:${text}`),
  fc.constantFrom('net:*', 'net:a.test', 'net:*.test', 'net:a.test:80', 'net:*:80', 'net:b.*'),
);
const list = fc.option(fc.array(entry, { maxLength: 4 }), { nil: undefined });
const anyForm = fc.record({ allow: list, deny: list, approve: list }).map(
  (lists) => Object.fromEntries(Object.entries(lists).filter(([, value]) => value !== undefined)) as PolicyShortForm, // the lists that there are
);
const anyTarget = fc.oneof(
  nameOf.map((id): Pick<DecisionRequest, 'action' | 'resource'> => ({ action: 'tool.execute', resource: { type: 'Tool', id } })),
  fc.tuple(nameOf, fc.boolean(), fc.boolean()).map(
    ([id, slash, declared]): Pick<DecisionRequest, 'action' | 'resource'> => ({
      action: 'model.invoke',
      resource: { type: 'Model', id: slash ? `sim/${id}` : id, attributes: { declared } },
    }),
  ),
  fc
    .constantFrom('a.test', 'b.a.test', 'a.test:80', 'b.test:443', 'test')
    .map((id): Pick<DecisionRequest, 'action' | 'resource'> => ({ action: 'net.egress', resource: { type: 'Host', id } })),
);

it('what is left of a short form decides as its text does, with the full request [verifies policy.slice.full]', () => {
  const reference = referenceFor('');
  const engine = createTestEngine({ clock, memoEntries: 0 });
  const asked = fc.record({ principal, target: anyTarget, priceKnown: fc.boolean() });
  fc.assert(
    fc.property(anyForm, anyForm, fc.array(asked, { minLength: 40, maxLength: 40 }), (agentPolicy, sessionPolicy, questions) => {
      const ask = reference({ agentPolicy, sessionPolicy });
      for (const { target: about, priceKnown, principal: by } of questions) {
        const one = { ...about, principal: by, context: { priceKnown }, agentPolicy, sessionPolicy };
        const decision = engine.decide(one);
        expect({ effect: decision.effect === 'deny' ? 'deny' : 'allow', reasons: [...decision.reasons].sort() }).toEqual(ask(one));
      }
    }),
    { numRuns: 260 },
  );
}, 120_000);

it('an action is asked of just those that the schema has it for', () => {
  const { schema } = compileSources([defaultPolicies]);
  cedar.preparseSchema('applies', schema);
  cedar.preparsePolicySet('applies', { staticPolicies: {} });
  const reads = { principal: new Set<string>(), resource: new Set<string>(), context: new Set<string>(), arguments: new Set<string>() };
  for (const action of PolicyAction.options) {
    for (const by of ['User', 'Agent'] as const) {
      for (const type of ResourceTypes) {
        const one: DecisionRequest = { principal: { type: by, id: 'a', tenant: 'acme' }, action, resource: { type, id: 'a' }, context: {} };
        const put = () => projectRequest(one, resourceFacts(one.resource, 'acme'), { ...reads, everything: true }, new Map(), clock.now);
        const { call: all } = projectRequest(
          { ...one, action: 'tool.execute', resource: { type: 'Tool', id: 'a' }, principal: { type: 'Agent', id: 'a', tenant: 'acme' } },
          resourceFacts({ type: 'Tool', id: 'a' }, 'acme'),
          { ...reads, everything: true },
          new Map(),
          clock.now,
        );
        const answer = cedar.statefulIsAuthorized({
          ...{ principal: { type: by, id: 'a' }, action: { type: 'Action', id: action }, resource: { type, id: 'a' } },
          ...{ context: all.context, entities: [], preparsedSchemaName: 'applies', preparsedPolicySetId: 'applies', validateRequest: true },
        });
        if (answer.type === 'success') put();
        else expect(put, `${by} ${action} ${type}: ${JSON.stringify(answer.errors)}`).toThrow(InvalidRequest);
      }
    }
  }
});

const wellTyped = request.filter(({ context: { arguments: given } }) => {
  const { path, n } = (given ?? {}) as { path?: unknown; n?: unknown }; // made above
  return path !== 5 && n !== 'x';
});

it('a slice with the projected request decides as the full set with the full request [verifies policy.slice.full]', () => {
  fc.assert(
    fc.property(fc.array(policy, { minLength: 1, maxLength: 5 }), fc.array(wellTyped, { minLength: 8, maxLength: 16 }), (texts, asked) => {
      const text = texts.join('\n');
      const engine = engineOrSkip({ sources: [{ name: 'ops', text }], clock, memoEntries: 0 });
      const reference = referenceFor(text);
      for (const one of asked) {
        const decision = engine.decide(one);
        expect({ effect: decision.effect === 'deny' ? 'deny' : 'allow', reasons: [...decision.reasons].sort() }).toEqual(
          reference(one)(one),
        );
      }
    }),
    { numRuns: 40 },
  );
});

it('a remembered decision is the one that would be made', () => {
  fc.assert(
    fc.property(
      fc.array(policy, { minLength: 1, maxLength: 5 }),
      fc.array(request, { minLength: 2, maxLength: 6 }),
      fc.array(fc.record({ pick: fc.nat(), other: fc.nat(), waitMs: fc.constantFrom(0, 0, 3_600_000) }), { minLength: 10, maxLength: 30 }),
      (texts, base, script) => {
        const sources = [{ name: 'ops', text: texts.join('\n') }];
        const time = createManualClock();
        const plain = engineOrSkip({ sources, clock: time, memoEntries: 0 });
        const remembering = createTestEngine({ sources, clock: time });
        for (const { pick, other, waitMs } of script) {
          time.advance(waitMs);
          const [first, second] = [base[pick % base.length], base[other % base.length]];
          if (first === undefined || second === undefined) continue;
          // One field of another request: close to what was asked before, but not the same.
          const field = (['principal', 'context', 'agentPolicy', 'sessionPolicy'] as const)[other % 4] ?? 'context';
          const asked = { ...first, ...(second[field] === undefined ? {} : { [field]: second[field] }) };
          expect(remembering.decide(asked)).toEqual(plain.decide(asked));
        }
      },
    ),
    { numRuns: 60 },
  );
});

const strictness = { allow: 0, require_approval: 1, deny: 2 };

it('a session narrows and never widens', () => {
  fc.assert(
    fc.property(fc.array(policy, { maxLength: 3 }), fc.array(request, { minLength: 5, maxLength: 10 }), (texts, asked) => {
      const engine = engineOrSkip({ sources: [{ name: 'ops', text: texts.join('\n') }], clock });
      for (const { sessionPolicy, ...alone } of asked) {
        if (sessionPolicy === undefined) continue;
        const narrowed = strictness[engine.decide({ ...alone, sessionPolicy }).effect];
        expect(narrowed).toBeGreaterThanOrEqual(strictness[engine.decide(alone).effect]);
      }
    }),
    { numRuns: 60 },
  );
});

it('deny beats approve beats allow in a short form, for every tool [verifies policy.short-form]', () => {
  const engine = createTestEngine();
  const matches = (given: readonly string[] | undefined, tool: string) =>
    (given ?? []).some((one) => !/^(model|net):/.test(one) && new RegExp(`^${one.replace('tool:', '').replaceAll('*', '.*')}$`).test(tool));
  fc.assert(
    fc.property(form, fc.constantFrom('fs_read', 'fs_write', 'code_js', 'search'), (agentPolicy, tool) => {
      const expected = matches(agentPolicy?.deny, tool)
        ? 'deny'
        : matches(agentPolicy?.approve, tool)
          ? 'require_approval'
          : matches(agentPolicy?.allow, tool)
            ? 'allow'
            : 'deny';
      const decision = engine.decide({
        principal: { type: 'Agent', id: 'chat', tenant: 'acme' },
        action: 'tool.execute',
        resource: { type: 'Tool', id: tool },
        context: {},
        ...(agentPolicy === undefined ? {} : { agentPolicy }),
      });
      expect(decision.effect).toBe(expected);
    }),
    { numRuns: 500 },
  );
});

it('matches patterns as Cedar does', () => {
  const letters = (pool: string[]) => fc.array(fc.constantFrom(...pool), { maxLength: 8 }).map((list) => list.join(''));
  fc.assert(
    fc.property(letters(['a', 'b', '.', '_']), letters(['a', 'b', '.', '*', '*']), (value, glob) => {
      const answer = cedar.isAuthorized({
        principal: { type: 'Agent', id: 'a' },
        action: { type: 'Action', id: 'x' },
        resource: { type: 'Tool', id: 't' },
        context: { value },
        entities: [],
        policies: { staticPolicies: `permit (principal, action, resource) when { context.value like "${glob}" };` },
      });
      expect(matchesWildcard(glob, value)).toBe(answer.type === 'success' && answer.response.decision === 'allow');
    }),
    { numRuns: 500 },
  );
});
