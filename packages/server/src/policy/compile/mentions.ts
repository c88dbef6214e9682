import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { Reads } from './reads.ts';
import { contextFacts } from './schema.ts';
import { literalsOf, toolsNamed } from './spelling.ts';

/** What a policy speaks of that need not be there: nothing is refused for it, and somebody should know. */
export interface Mentions {
  readonly tenants: readonly string[];
  /** Arguments that it reads, and the tools that it names, none for any. */
  readonly arguments: readonly string[];
  readonly tools: readonly string[];
  /** What is wrong whatever there is, in words. */
  readonly notes: readonly string[];
}

/** Which facts are set for which actions. `time` and `sessionId` are there for all, or nearly. */
const setFor: Readonly<Record<string, readonly string[]>> = {
  arguments: ['tool.execute', 'approval.grant', 'admin.'],
  argumentsJson: ['tool.execute', 'approval.grant', 'admin.'],
  approved: ['tool.execute'],
  estimatedCostMicroUsd: ['model.invoke', 'tool.execute'],
  budgetLeftMicroUsd: [],
  step: ['model.invoke', 'tool.execute'],
  priceKnown: ['model.invoke'],
  tool: ['net.egress', 'secret.use', 'file.'],
  answer: ['approval.grant'],
};

export function mentionsOf(json: PolicyJson, { actions }: { readonly actions?: ReadonlySet<string> }, reads: Reads): Mentions {
  const facts = [...reads.context].filter((fact) => Object.hasOwn(contextFacts, fact) || Object.hasOwn(setFor, fact));
  const unset = [...facts, ...(reads.arguments.size > 0 ? ['arguments'] : [])].filter((fact) => {
    const set = setFor[fact];
    return actions !== undefined && set !== undefined && ![...actions].some((action) => set.some((start) => action.startsWith(start)));
  });
  const names = literalsOf(json, 'principal.name').filter(({ isPattern, text }) => isPattern && text.startsWith('*'));
  const widely = json.effect === 'permit' && names.length > 0 && !reads.principal.has('tenant') && !reads.principal.has('origin');
  return {
    tenants: literalsOf(json, 'principal.tenant').flatMap(({ text, isPattern }) => (isPattern ? [] : [text])),
    arguments: actions === undefined || actions.has('tool.execute') ? [...reads.arguments] : [],
    tools: toolsNamed(json),
    notes: [
      ...unset.map((fact) => `context.${fact} is never set for ${[...(actions ?? [])].join(', ')}`),
      ...(widely
        ? [
            `principal.name like ${JSON.stringify(names[0]?.text)} also permits to agents that tenants name like that; ask for principal.origin == "operator" as well`,
          ]
        : []),
    ],
  };
}
