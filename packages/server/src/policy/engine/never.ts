import type { CompiledPolicy, QuestionValues } from '#policy/compile';
import { isPlainConstraint, type Slice } from './slice.ts';

/**
 * Whether a slice allows nothing, whatever the arguments and the moment of a call. What is not plain is taken for possible.
 *
 * @param values those of a question without arguments: who asks, and for what
 * @param denies Cedar's answer to that question
 */
export function allowsNothing({ policies }: Slice, values: QuestionValues, denies: () => boolean): boolean {
  const left = [...policies.values()].filter((policy) => !(isSettled(policy) && policy.test?.(values) === false));
  if (!left.some(({ bare, advice }) => bare.effect === 'permit' && !advice)) return true;
  if (left.every(isSettled)) return denies();
  return left.some(
    (policy) => policy.bare.effect === 'forbid' && isSettled(policy) && hasPlainScope(policy) && policy.test?.(values) === true,
  );
}

/** It asks for nothing that differs from call to call, or from one version of a definition to the next. */
function isSettled({ reads }: CompiledPolicy): boolean {
  return !reads.everything && !reads.principal.has('version') && reads.context.size === 0 && reads.arguments.size === 0;
}

function hasPlainScope({ bare }: CompiledPolicy): boolean {
  return [bare.principal, bare.resource].every(isPlainConstraint);
}
