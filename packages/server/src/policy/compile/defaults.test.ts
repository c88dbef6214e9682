import { expect, it } from 'vitest';
import { cedarRuntime } from './cedar.ts';
import { compileSources, parseSource } from './compile.ts';
import parsed from './default-policies.json' with { type: 'json' };
import { defaultPolicies } from './defaults.ts';

it('the defaults are what Cedar reads from their text; if not, run: npm run fix:policies', () => {
  const read = parseSource(cedarRuntime().cedar, defaultPolicies, false);
  expect(parsed).toEqual(read.map(({ text, json }) => ({ text, json })));
});

it('go by the same ids, scopes and reads as when their text is read', () => {
  const { policies } = compileSources([defaultPolicies]);
  const again = compileSources([{ ...defaultPolicies }]); // the same text, which is not known to be
  const facts = (all: typeof policies) => all.map(({ id, text, scope, reads, obligations }) => ({ id, text, scope, reads, obligations }));
  expect(facts(policies)).toEqual(facts(again.policies));
});
