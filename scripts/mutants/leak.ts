import { type Mutant, server } from './mutant.ts';

const secretTests = [`${server}/core/secrets/secret-values.test.ts`];
const visibleTests = [`${server}/core/visible/visible.test.ts`];
const outputTests = [`${server}/cli/visible-output.test.ts`];
const settingTests = [`${server}/cli/no-secrets.test.ts`];
const fileTests = [`${server}/apps/private-files.test.ts`];
const logTests = [`${server}/telemetry/logger.test.ts`];

/** Of what must not leave: secrets, paths of the host, and what a terminal would obey. */
export const leakMutants: readonly Mutant[] = [
  {
    bug: 'leak: a secret is found in its plain spelling only',
    file: `${server}/core/secrets/spellings.ts`,
    replace: '...base64s(bytes),',
    by: '',
    tests: secretTests,
  },
  {
    bug: 'leak: a secret that is cut over two pieces is passed on',
    file: `${server}/core/secrets/secret-values.ts`,
    replace: "everywhere.scan(held === '' ? piece : held + piece, false)",
    by: "everywhere.scan(held === '' ? piece : held + piece, true)",
    tests: secretTests,
  },
  {
    bug: 'leak: a part of a key in an error of its provider is passed on',
    file: `${server}/core/secrets/secret-values.ts`,
    replace: 'withoutPieces(inErrors(text.slice(0, maxForeignChars)), pieces)',
    by: 'inErrors(text.slice(0, maxForeignChars))',
    tests: secretTests,
  },
  {
    bug: 'leak: lines of the log hold the secrets that are known',
    file: `${server}/telemetry/logger.ts`,
    replace: 'log: (fields) => redactFields(fields, secrets)',
    by: 'log: (fields) => redactFields(fields)',
    tests: logTests,
  },
  {
    bug: 'leak: the pretty log lets a value end its line',
    file: `${server}/telemetry/pretty.ts`,
    replace: 'visibleLine(String(message))',
    by: 'String(message)',
    tests: logTests,
  },
  {
    bug: 'leak: an address that is not valid is repeated by the error',
    file: `${server}/core/settings/redact.ts`,
    replace: '.filter(({ secret, address }) => secret === true || address === true)',
    by: '.filter(({ secret }) => secret === true)',
    tests: settingTests,
  },
  {
    bug: 'leak: a name in a file that is a value is repeated by the error',
    file: `${server}/core/validation.ts`,
    replace: 'options.secret === undefined ? key : shownName(key)',
    by: 'key',
    tests: settingTests,
  },
  {
    bug: 'leak: the configuration shows what an address has in its query',
    file: `${server}/core/settings/address.ts`,
    replace: 'return plainParameters.has(name.toLowerCase())\n',
    by: "return name !== ''\n",
    tests: settingTests,
  },
  {
    bug: 'leak: half a password behind a slash counts as a path',
    file: `${server}/core/settings/address.ts`,
    replace: "return value.replace(/^[^/]*\\/\\/[^/?#]*/, '').includes('@');",
    by: 'return value.length === 0;',
    tests: settingTests,
  },
  {
    bug: 'leak: the command line prints past what makes it visible',
    file: `${server}/cli/printing.ts`,
    replace: "if (typeof data === 'string') output.write(printable(data));",
    by: "if (typeof data === 'string') output.write(data);",
    tests: outputTests,
  },
  {
    bug: 'leak: blanks hide the end of what a person approves',
    file: `${server}/cli/arguments.ts`,
    replace: '{24,}',
    by: '{240000,}',
    tests: outputTests,
  },
  {
    bug: 'leak: letters without a width are printed',
    file: `${server}/core/visible/visible.ts`,
    replace: '|\\\\p{Cf}|',
    by: '|',
    tests: visibleTests,
  },
  {
    bug: 'leak: files of a data folder that was there stay open to others',
    file: `${server}/apps/private-files.ts`,
    replace: 'await handle.chmod(mode)',
    by: 'await handle.stat()',
    tests: fileTests,
  },
  {
    bug: 'leak: what Node warns of is printed between the lines of the log',
    file: `${server}/apps/last-words.ts`,
    replace: "process.removeAllListeners('warning');",
    by: '',
    tests: [`${server}/apps/last-words.test.ts`],
  },
  {
    bug: 'leak: a data folder stays open to others since a server made something in it that is not known as its own',
    file: `${server}/apps/private-files.ts`,
    replace: '|folders|local|',
    by: '|folders|',
    tests: fileTests,
  },
  {
    bug: 'leak: a link leads the closing of files out of the data folder',
    file: `${server}/apps/private-files.ts`,
    replace: 'if (about === null || about.isSymbolicLink()) return;',
    by: 'if (about === null) return;\n  if (about.isSymbolicLink()) return chmod(path, 0o600);',
    tests: fileTests,
  },
  {
    bug: 'leak: clients are told where a folder of this machine lies',
    file: `${server}/core/secrets/secret-values.ts`,
    replace: 'outward: (text) => inOwnPlaces(inErrors(text)),',
    by: 'outward: (text) => inErrors(text),',
    tests: [`${server}/apps/host-paths.test.ts`],
  },
  {
    bug: "leak: the folder of the tokens makes a data folder somebody else's",
    file: `${server}/apps/private-files.ts`,
    replace: '|local|',
    by: '|',
    tests: fileTests,
  },
];
