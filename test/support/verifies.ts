import type { RequirementId } from '../requirements.ts';

/**
 * Marks a test as the proof of requirements, in its title:
 *
 *     it(`admits exactly 137 of 1,000 ${verifies('budget.race.exact')}`, …)
 *
 * The ids must be string literals: `scripts/checks/requirements.ts` reads them from the source. A test that would rather not import
 * this writes the result into its title: `it('admits exactly 137 of 1,000 [verifies budget.race.exact]', …)`.
 */
export function verifies(...ids: readonly [RequirementId, ...RequirementId[]]): string {
  return `[verifies ${ids.join(' ')}]`;
}
