import { type Mutant, server } from './mutant.ts';

const bodyTests = [`${server}/api/http/body.test.ts`];
const patternTests = [`${server}/core/schema/pattern.test.ts`];
const schemaTests = [`${server}/core/schema/schema.test.ts`];

/** Of what keeps others from waiting for somebody's input. */
export const stallMutants: readonly Mutant[] = [
  {
    bug: 'stall: values of a body are not counted',
    file: `${server}/api/http/body.ts`,
    replace: 'else if (byte === 0x2c) this.#values += 1;',
    by: 'else if (byte === 0x2c) this.#values += 0;',
    tests: bodyTests,
  },
  {
    bug: 'stall: a body may nest as deep as it likes',
    file: `${server}/api/http/body.ts`,
    replace: 'if (this.#depth > maxJsonDepth)',
    by: 'if (this.#depth > 1_000_000)',
    tests: bodyTests,
  },
  {
    bug: 'stall: a number may have millions of digits',
    file: `${server}/api/http/body.ts`,
    replace: 'if (this.#digits > maxDigits)',
    by: 'if (this.#digits < 0)',
    tests: bodyTests,
  },
  {
    bug: 'stall: an escaped prototype is a name like any other',
    file: `${server}/api/http/body.ts`,
    replace: '(survey.escapes > 0 || ',
    by: '(',
    tests: bodyTests,
  },
  {
    bug: 'stall: details of an error are as large as what was sent',
    file: `${server}/core/problem.ts`,
    replace: 'details: boundMembers(details, room, 0)',
    by: 'details',
    tests: bodyTests,
  },
  {
    bug: 'stall: a pattern may grow by its repetitions',
    file: `${server}/core/schema/pattern-syntax.ts`,
    replace: 'if (statesOf(syntax) > maxStates)',
    by: "if (source === '')",
    tests: patternTests,
  },
  {
    bug: 'stall: matching a pattern is not counted',
    file: `${server}/core/schema/pattern.ts`,
    replace: 'spend(fuel, 1 + now.count);',
    by: '',
    tests: patternTests,
  },
  {
    bug: 'stall: a state is gone into as often as ways lead to it',
    file: `${server}/core/schema/pattern.ts`,
    replace: 'if (list.marks[index] === list.mark) continue;',
    by: '',
    tests: patternTests,
  },
  {
    bug: 'stall: going through a value is not counted',
    file: `${server}/core/schema/state.ts`,
    replace: '  spend(state, 4);\n',
    by: '',
    tests: schemaTests,
  },
  {
    bug: 'stall: a schema may lead back to itself for ever',
    file: `${server}/core/schema/rules.ts`,
    replace: 'if (this.#faults.length === 0) this.#findCircle();',
    by: '',
    tests: schemaTests,
  },
  {
    bug: 'stall: a reference to nothing is taken',
    file: `${server}/core/schema/rules.ts`,
    replace: "if (typeof found === 'boolean') continue;",
    by: 'if (!isObject(found)) continue;',
    tests: schemaTests,
  },
  {
    bug: 'stall: an agent is stored with a schema that is none',
    file: `${server}/control/agent-catalog.ts`,
    replace: "checkOutputSchema(parsed, 'invalid_request');",
    by: '',
    tests: [`${server}/apps/output-schema.test.ts`],
  },
  {
    bug: 'stall: a value that takes too long to check fits',
    file: `${server}/core/json-schema.ts`,
    replace: "return [{ path: '', expected, actual: shown(value) }];",
    by: 'return expected === value ? [] : [];',
    tests: schemaTests,
  },
  {
    bug: 'a long name that there is not is compared with every other, field by field',
    file: `${server}/core/closest.ts`,
    replace: 'Math.min(mostEdits, Math.max(2, Math.floor(word.length / 3))) + 1',
    by: 'Math.max(2, Math.floor(word.length / 3)) + 1',
    tests: [`${server}/core/closest.test.ts`],
  },
  {
    bug: 'however many names are alike, each is looked at for one that there is not',
    file: `${server}/core/closest.ts`,
    replace: '    if (left <= 0) break;\n',
    by: '',
    tests: [`${server}/core/closest.test.ts`],
  },
];
