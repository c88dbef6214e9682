import { type Mutant, server } from './mutant.ts';

const suspensionTests = [`${server}/tools/sandbox/suspension.test.ts`];
const nestedTests = [`${server}/runs/drive/nested-calls.test.ts`];

/** Of code that calls tools, and of its language. */
export const codeMutants: readonly Mutant[] = [
  {
    bug: 'code: fuel begins anew with each wait',
    file: `${server}/tools/sandbox/interpreter.ts`,
    replace: 'let fuelUsed = from?.fuelUsed ?? 0;',
    by: 'let fuelUsed = 0;',
    tests: suspensionTests,
  },
  {
    bug: 'code: a larger memory is cut to that of a new engine',
    file: `${server}/tools/sandbox/engine.ts`,
    replace: '  own.set(from.memory);\n',
    by: '  own.set(from.memory.subarray(0, 2_000_000));\n',
    tests: suspensionTests,
  },
  {
    bug: 'code: the memory of another engine is taken up',
    file: `${server}/tools/sandbox/interpreter.ts`,
    replace: 'else if (packed.image.layout === engine.layout) goOn',
    by: 'else if (packed.image.layout !== engine.guest.settle.toString()) goOn',
    tests: suspensionTests,
  },
  {
    bug: 'code: a program ends before the calls that it began',
    file: `${server}/tools/sandbox/guest.ts`,
    replace: 'while (openCount > 0)',
    by: 'while (false)',
    tests: suspensionTests,
  },
  {
    bug: 'code: the limit of calls begins anew with each wait',
    file: `${server}/tools/sandbox/interpreter.ts`,
    replace: 'let made = from?.calls ?? 0;',
    by: 'let made = 0;',
    tests: suspensionTests,
  },
  {
    bug: 'code: it goes on before all of its calls have ended',
    file: `${server}/runs/journal/next-action.ts`,
    replace: "phase.type === 'suspended' && !open.some(({ parentCallId }) => parentCallId === callId)",
    by: "phase.type === 'suspended' && open.filter(({ parentCallId }) => parentCallId === callId).length < 2",
    tests: nestedTests,
  },
  {
    bug: 'code: code calls code',
    file: `${server}/runs/steps/tool-start.ts`,
    replace: 'tools.filter(mayBeNested)',
    by: 'tools',
    tests: nestedTests,
  },
  {
    bug: 'code: each wait counts as a further call',
    file: `${server}/runs/steps/tool-plan.ts`,
    replace: 'counts: resume === null,',
    by: 'counts: true,',
    tests: nestedTests,
  },
  {
    bug: 'code: results are told in the order in which they were asked for',
    file: `${server}/runs/journal/transitions.ts`,
    replace: 'ended: [...parent.suspension.ended, { id: index, isError, output }] }',
    by: 'ended: [...parent.suspension.ended, { id: index, isError, output }].sort((a, b) => a.id - b.id) }',
    tests: nestedTests,
  },
  {
    bug: 'code: a name that no tool has is no call',
    file: `${server}/tools/sandbox/guest.ts`,
    replace: ': unknownTool(name)),',
    by: ': undefined),',
    tests: suspensionTests,
  },
  {
    bug: 'code: any text is taken for the name of a tool',
    file: `${server}/tools/sandbox/guest.ts`,
    replace: 'if (index >= 64 || !(name[index] in nameCharacters)) return noName;',
    by: 'if (index >= 2 ** 30) return noName;',
    tests: suspensionTests,
  },
];
