import type { AuthorizationAnswer } from '@cedar-policy/cedar-wasm/nodejs';
import { type CompiledPolicy, type DecisionRequest, settleObligations } from '#policy/compile';
import type { Decision } from './types.ts';

/** Cedar's answer about the policies and the obligations of the determining policies as one effect. */
export function effectOf(
  answer: AuthorizationAnswer,
  policies: ReadonlyMap<string, CompiledPolicy>,
  approved: DecisionRequest['context']['approved'],
): Pick<Decision, 'effect' | 'reasons' | 'obligations' | 'errors'> {
  if (answer.type === 'failure')
    return { effect: 'deny', reasons: ['invalid-request'], errors: answer.errors.map(({ message }) => message) };
  const { decision, diagnostics } = answer.response;
  // Cedar skips a policy whose condition errs, a forbid too: the request would be allowed.
  if (diagnostics.errors.length > 0) {
    const failed = new Map(diagnostics.errors.map(({ policyId, error }) => [policyId, error.message]));
    const reasons = inOrder(policies, [...failed.keys()]);
    return { effect: 'deny', reasons, errors: reasons.map((id) => `${id}: ${failed.get(id) ?? ''}`) };
  }
  const reasons = inOrder(policies, diagnostics.reason);
  if (decision === 'deny') return { effect: 'deny', reasons: reasons.length > 0 ? reasons : ['default-deny'] };
  const determining = reasons.flatMap((id) => policies.get(id) ?? []);
  if (determining.length !== reasons.length) return { effect: 'deny', reasons, errors: ['Cedar named a policy that was not asked'] };
  if (determining.every(({ advice }) => advice)) return { effect: 'deny', reasons: ['default-deny'] };
  const settled = settleObligations(
    determining.map(({ obligations }) => obligations),
    approved,
  );
  if (settled.effect === 'deny') return { effect: 'deny', reasons, errors: [...settled.errors] };
  return { effect: settled.effect, reasons, ...(settled.obligations.length === 0 ? {} : { obligations: settled.obligations }) };
}

function inOrder(policies: ReadonlyMap<string, CompiledPolicy>, ids: readonly string[]): string[] {
  const named = new Set(ids);
  const known = [...policies.keys()].filter((id) => named.delete(id));
  return [...known, ...named];
}
