import { type Mutant, server } from './mutant.ts';

const wasm = `${server}/tools/sandbox/wasm`;
const lies = [`${wasm}/lies.test.ts`];

/** Of WebAssembly modules, which say one thing to who counts and another to the engine, or take what nobody counts. */
export const moduleMutants: readonly Mutant[] = [
  {
    bug: 'module: a loop is hidden from the count behind a type of two bytes',
    file: `${wasm}/instructions.ts`,
    replace: '  if (!valueTypes.has(type)) throw',
    by: '  if (false) throw',
    tests: lies,
  },
  {
    bug: 'module: what is added to a section is the end of what the module put there',
    file: `${wasm}/confine.ts`,
    replace:
      "  for (let index = 0; index < count; index++) each(reader);\n  if (!reader.done) throw new ModuleRefused('a section has more in it than it says');",
    by: '  for (let index = 0; index < count; index++) each(reader);',
    tests: lies,
  },
  {
    bug: 'module: arrays of the engine take memory beside that of the module',
    file: `${wasm}/confine.ts`,
    replace: '  readSection(sections.get(ids.type), readFunctionType);\n',
    by: '',
    tests: lies,
  },
  {
    bug: 'module: a file that was made shorter keeps its memory',
    file: `${wasm}/guest-memory.ts`,
    replace: '    if (length < this.#bytes.length / 4) this.#bytes',
    by: '    if (false) this.#bytes',
    tests: lies,
  },
  {
    bug: 'module: a host function that ran out of stack half way is a wrong pointer',
    file: `${wasm}/wasi.ts`,
    replace: '      if (error instanceof RangeError && !isStackSpent(error)) return fault;',
    by: '      if (error instanceof RangeError) return fault;',
    tests: lies,
  },
];
