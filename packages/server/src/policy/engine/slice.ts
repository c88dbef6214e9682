import { sha256 } from '#core';
import { type CompiledPolicy, type DecisionRequest, type Reads, type ResourceFacts, unionOfReads } from '#policy/compile';
import type { FormPolicy } from '#policy/forms';

/** The policies that can say anything about requests with the same principal, action and resource, and what they read. */
export interface Slice {
  /** By id, in the order in which reasons are listed. */
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  readonly reads: Reads;
  /** All questions of the slice meet the same scopes: none of them asks whether somebody is in a group. */
  readonly isPlain: boolean;
  /** Hash of the policies' ids and what Cedar is given of each: equal slices share one parsed set. */
  readonly key: string;
}

/** Leaves out only policies whose scope is certainly not met: those neither decide nor err, so the answer is that of the full set. */
export function createSlice(
  policies: readonly CompiledPolicy[],
  forms: readonly FormPolicy[],
  principal: DecisionRequest['principal'],
  action: string,
  resource: ResourceFacts,
): Slice {
  const relevant = [
    ...policies.filter((policy) => inScope(policy, principal, action, resource)),
    ...forms.filter((policy) => inScope(policy, principal, action, resource) && policy.mayApply(resource)),
  ];
  return {
    policies: new Map(relevant.map((policy) => [policy.id, policy])),
    reads: unionOfReads(relevant.map((policy) => policy.reads)),
    isPlain: relevant.every(({ bare }) => [bare.principal, bare.resource].every(isPlainConstraint)),
    key: sha256(JSON.stringify(relevant.map(({ id, asked }) => [id, asked]))),
  };
}

export function isPlainConstraint(constraint: CompiledPolicy['bare']['principal'] | CompiledPolicy['bare']['resource']): boolean {
  return constraint.op === 'All' || constraint.op === '==' || (constraint.op === 'is' && constraint.in === undefined);
}

function inScope({ scope }: CompiledPolicy, principal: DecisionRequest['principal'], action: string, resource: ResourceFacts): boolean {
  if (scope.actions !== undefined && !scope.actions.has(action)) return false;
  if (scope.principalType !== undefined && scope.principalType !== principal.type) return false;
  if (scope.principalId !== undefined && scope.principalId !== principal.id) return false;
  if (scope.resourceType !== undefined && scope.resourceType !== resource.type) return false;
  return scope.resourceId === undefined || scope.resourceId === resource.id;
}
