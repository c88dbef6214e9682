import { type Mutant, server } from './mutant.ts';

const builtin = `${server}/tools/sources/builtin`;
const pdfTests = [`${builtin}/files/pdf-text.test.ts`];
const pythonTests = [`${builtin}/code-python.test.ts`];
const program = `${builtin}/files/pdf-program.ts`;
const python = `${builtin}/code-python.ts`;

/** Of PDFs that are read, and of what is said of Python code. */
export const documentMutants: readonly Mutant[] = [
  {
    bug: 'documents: the next page is shown where this one goes on',
    file: program,
    replace: '    if (from + shown.length < found.length) break;\n',
    by: '',
    tests: pdfTests,
  },
  {
    bug: 'documents: half a character reaches the database',
    file: program,
    replace: '    .toWellFormed()\n',
    by: '',
    tests: pdfTests,
  },
  {
    bug: 'documents: numbers of glyphs are taken for characters',
    file: program,
    replace: 'isUnicode && /^Adobe',
    by: '/^Adobe',
    tests: pdfTests,
  },
  {
    bug: 'documents: an encoding that is not known leaves text out without a word',
    file: program,
    replace: "      if (kind === 'cMapUrl') unread.add(filename);\n",
    by: '',
    tests: pdfTests,
  },
  {
    bug: 'documents: what one half of the reader has sent is changed under the other',
    file: `${builtin}/files/pdf-world.ts`,
    replace: '    if (ArrayBuffer.isView(from)) return from.slice();\n',
    by: '',
    tests: pdfTests,
  },
  {
    bug: 'python: the line of an error is one of a library',
    file: python,
    replace: "        if at.tb_frame.f_code.co_filename == '<code>':\n",
    by: '        if True:\n',
    tests: pythonTests,
  },
  {
    bug: 'python: what is printed at the end is lost',
    file: python,
    replace: "after.join('\\n')",
    by: "''",
    tests: pythonTests,
  },
];
