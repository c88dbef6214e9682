import { server, type Violation } from './violation.ts';

/** Ways of letting a name of the run select what every object inherits. */
const ways: Readonly<Record<string, string>> = {
  'a table of the module':
    'const words = { gzip: 1 } as Readonly<Record<string, number>>;\nexport const plantedRead = (name: string) => words[name];\n',
  'a table where it is read': 'export const plantedRead = (name: string) => ({ gzip: 1 })[name as "gzip"];\n',
  'a table that is frozen': "const words = Object.freeze({ gzip: 1 });\nexport const plantedRead = (name: 'gzip') => words[name];\n",
  'a table that is written':
    'export function plantedRead(name: string) {\n  const words: Record<string, number> = {};\n  words[name] = 1;\n  return words;\n}\n',
  'a question with in': 'export const plantedRead = (name: string, words: object) => name in words;\n',
};

export const lookupViolations: readonly Violation[] = [
  ...Object.entries(ways).map(
    ([way, plant]): Violation => ({
      gate: `name from outside: ${way}`,
      step: 'lookups',
      file: `${server}/core/planted-lookup.ts`,
      plant,
      caught: /core\/planted-lookup\.ts:\d+ {2}inherited-name/,
    }),
  ),
  {
    gate: 'name from outside: a table of another file',
    step: 'lookups',
    file: `${server}/core/planted-table.ts`,
    plant: 'export const plantedTable = { gzip: 1 };\n',
    beside: {
      [`${server}/core/planted-lookup.ts`]:
        "import { plantedTable } from './planted-table.ts';\nexport const plantedRead = (name: 'gzip') => plantedTable[name];\n",
    },
    caught: /core\/planted-lookup\.ts:\d+ {2}inherited-name/,
  },
];
