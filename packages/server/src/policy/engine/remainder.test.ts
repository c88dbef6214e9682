import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import { cedarRuntime, compileSources, type DecisionRequest, defaultPolicies, resourceFacts } from '#policy/compile';
import { createTestEngine } from '#policy/testing';
import { projectRequest } from './request.ts';

const clock = createManualClock();

function question(given: Record<string, unknown>, id = 'chat'): DecisionRequest {
  return {
    principal: { type: 'Agent', id, tenant: 'acme' },
    action: 'tool.execute',
    resource: { type: 'Tool', id: 'read' },
    context: { arguments: given, step: 1 },
  };
}

/** Cedar asked about all of the policies with all that they read; it denies what it cannot take. */
function referenceFor(text: string) {
  const { policies, argumentTypes } = compileSources([defaultPolicies, { name: 'ops', text }]);
  const none = new Set<string>();
  const everything = { principal: none, resource: none, context: none, arguments: none, everything: true };
  const staticPolicies = Object.fromEntries(policies.map((one) => [one.id, one.text]));
  cedarRuntime().cedar.preparsePolicySet('reference', { staticPolicies });
  return (asked: DecisionRequest) => {
    const { call } = projectRequest(asked, resourceFacts(asked.resource, asked.principal.tenant), everything, argumentTypes, clock.now);
    const answer = cedarRuntime().cedar.statefulIsAuthorized({ ...call, preparsedPolicySetId: 'reference' });
    if (answer.type === 'failure') return { effect: 'deny', reasons: ['invalid-request'] };
    const { decision, diagnostics } = answer.response;
    const failed = diagnostics.errors.map(({ policyId }) => policyId);
    if (failed.length > 0) return { effect: 'deny', reasons: failed.sort() };
    const reasons = diagnostics.reason.sort();
    if (decision === 'deny') return { effect: 'deny', reasons: reasons.length > 0 ? reasons : ['default-deny'] };
    return { effect: 'allow', reasons };
  };
}

function decided(engine: ReturnType<typeof createTestEngine>, asked: DecisionRequest) {
  const { effect, reasons } = engine.decide(asked);
  return { effect, reasons: [...reasons].sort() };
}

const conditions = [
  (n: number) => `context.arguments has n && context.arguments.n > ${n}`,
  (n: number) => `context.arguments has path && context.arguments.path like "*${n}*"`,
  (n: number) =>
    `context.arguments has path && context.arguments has n && context.arguments.n <= ${n} && context.arguments.path != "p${n}"`,
  (n: number) => `!(context.arguments has tags && context.arguments.tags.contains("t${n}"))`,
  // Errs where it is reached: the sum overflows.
  (n: number) => `context.arguments has n && context.arguments.n == ${n} && context.arguments.n + 9223372036854775807 > 3`,
  (n: number) => `context.argumentsJson like "*p${n}*"`,
];
const scopes = ['principal', 'principal is Agent', 'principal == Agent::"chat"', 'principal in Agent::"other"'];
const policy = fc
  .record({
    effect: fc.constantFrom('permit', 'permit', 'permit', 'forbid'),
    scope: fc.constantFrom(...scopes),
    condition: fc.nat(conditions.length - 1),
    n: fc.integer({ min: 0, max: 30 }),
  })
  .map(
    ({ effect, scope, condition, n }) =>
      `${effect} (${scope}, action == Action::"tool.execute", resource) when { ${conditions[condition]?.(n) ?? ''} };`,
  );
const given = fc.record(
  {
    n: fc.integer({ min: 0, max: 30 }),
    path: fc.integer({ min: 0, max: 30 }).map((n) => `p${n}`),
    tags: fc.array(
      fc.integer({ min: 0, max: 30 }).map((n) => `t${n}`),
      { maxLength: 2 },
    ),
  },
  { requiredKeys: [] },
);

it('is decided upon as the whole is, however many policies there are and however many are left of them [verifies policy.slice.full]', () => {
  const effects = new Map<string, number>();
  fc.assert(
    fc.property(
      fc.oneof(fc.array(policy, { minLength: 1, maxLength: 8 }), fc.array(policy, { minLength: 40, maxLength: 80 })),
      fc.array(fc.tuple(given, fc.constantFrom('chat', 'other', 'third')), { minLength: 60, maxLength: 60 }),
      (texts, questions) => {
        const text = texts.join('\n');
        const engine = createTestEngine({ sources: [{ name: 'ops', text }], clock, memoEntries: 0 });
        const reference = referenceFor(text);
        // More questions than one slice has its remainders kept for, and each of them twice.
        for (const [one, id] of [...questions, ...questions]) {
          const asked = question(one, id);
          const { effect, reasons } = reference(asked);
          effects.set(effect, (effects.get(effect) ?? 0) + 1);
          expect(decided(engine, asked)).toEqual({ effect, reasons });
        }
      },
    ),
    { numRuns: 20, endOnFailure: true },
  );
  expect(Math.min(effects.get('allow') ?? 0, effects.get('deny') ?? 0)).toBeGreaterThan(200);
}, 120_000);

it('is denied where Cedar cannot read the question, also by policies that would not look at that part', () => {
  const permit =
    'permit (principal, action, resource) when { context.arguments has a || (context.arguments has b && context.arguments.b == "x") };';
  const engine = createTestEngine({ sources: [{ name: 'ops', text: permit }], clock, memoEntries: 0 });
  expect(engine.decide(question({ a: 1, b: 'x' })).effect).toBe('allow');
  expect(engine.decide(question({ a: 1, b: '\ud800' }))).toMatchObject({ effect: 'deny', reasons: ['invalid-request'] });
  const odd = 'permit (principal, action, resource) when { context.arguments has a || context.arguments has __extn };';
  const other = createTestEngine({ sources: [{ name: 'ops', text: odd }], clock, memoEntries: 0 });
  expect(other.decide(question({ a: 1 })).effect).toBe('allow');
  expect(other.decide(question({ a: 1, __extn: 2 })).effect).toBe(referenceFor(odd)(question({ a: 1, __extn: 2 })).effect);
});
