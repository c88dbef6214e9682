/**
 * Proves that the tests bite: plants one bug at a time in a copy of the repository and runs the tests that are there to catch it. Each
 * test file that the bug names must fail in an assertion. A bug that lives, one that keeps the code from loading, tests that do not end,
 * and a text that is no longer in its file fail this run.
 *
 *   npm run verify:mutants                 all bugs
 *   npm run verify:mutants -- lease bus    those whose name or file contains one of the words
 */
import { join } from 'node:path';
import { copyTree } from './gates/copy.ts';
import { steps } from './gates/steps.ts';
import { mutants } from './mutants/list.ts';
import { type Mutant, placesOf } from './mutants/mutant.ts';

/** For one test file, which ends at its first failure; tests that hang fail by their own limits long before. */
const timeoutMs = 120_000;
/** For all tests together, on the clean copy. */
const cleanTimeoutMs = 600_000;

// Simulations and sequences enough for the bugs that are planted for them.
process.env.NEXUS_TEST_SEEDS ??= '100';
process.env.NEXUS_TEST_SEQUENCES ??= '80';

const root = join(import.meta.dirname, '..');
const words = process.argv.slice(2);
const chosen = mutants.filter(({ bug, file }) => words.length === 0 || words.some((word) => bug.includes(word) || file.includes(word)));
const tests = steps.find(({ name }) => name === 'tests')?.command ?? [];
const copy = copyTree(root);
const results = { passed: 0, failed: 0 };
let reports = 0;

try {
  if (chosen.length === 0) record(false, `no bug has ${words.join(' or ')} in its name or file`);
  else if (isCleanCopySound()) for (const mutant of chosen) prove(mutant);
} finally {
  copy.remove();
}
process.stdout.write(`verify:mutants: ${results.passed} passed, ${results.failed} failed\n`);
if (results.failed > 0) process.exitCode = 1;

function isCleanCopySound(): boolean {
  const files = [...new Set(chosen.flatMap((mutant) => mutant.tests))];
  const { failed, isWhole, output } = run(files, cleanTimeoutMs);
  const isSound = isWhole && failed.length === 0;
  record(isSound, `clean copy passes ${files.length} test files`, output);
  return isSound;
}

function prove(mutant: Mutant): void {
  try {
    copy.write(mutant.file, (before) => plant(mutant, before));
    const { passed, what, output } = judge(mutant.tests);
    record(passed, `${mutant.bug}: ${what} (${mutant.file})`, output);
  } catch (error) {
    record(false, `${mutant.bug}: ${error instanceof Error ? error.message : String(error)} (${mutant.file})`);
  } finally {
    copy.restore();
  }
}

/** Runs the tests of a planted bug, each file by itself and up to its first failure. */
function judge(files: readonly string[]): { readonly passed: boolean; readonly what: string; readonly output: string } {
  const caught: string[] = [];
  for (const file of files) {
    const { failed, isWhole, output } = run([file], timeoutMs, '--bail=1');
    if (!isWhole) return { passed: false, what: `${file} did not load, or did not end`, output };
    if (failed.length === 0) return { passed: false, what: `LIVES in ${file}`, output: '' };
    caught.push(...failed);
  }
  return { passed: true, what: `caught by "${caught[0]}"`, output: '' };
}

/** The source with the bug in the one place where it belongs. */
function plant(mutant: Mutant, source: string): string {
  const { replace, by } = mutant;
  const places = placesOf(mutant, source);
  if (places !== 1) throw new Error(`${places === 0 ? 'NOT FOUND' : `${places} places have`}: ${JSON.stringify(replace)}`);
  return source.split(replace).join(by);
}

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly { readonly status: string; readonly title: string }[];
  }[];
}

/** Titles of the tests that failed. `isWhole`: every file was loaded, and the tests have ended. */
function run(files: readonly string[], limitMs: number, ...options: readonly string[]) {
  const report = `mutants-${++reports}.json`;
  const command = [...tests, '--reporter=json', `--outputFile=${report}`, ...options, ...files];
  const { status, output } = copy.run(command, { timeoutMs: limitMs });
  const text = copy.read(report);
  if (status === null || text === '') return { failed: [], isWhole: false, output };
  const { testResults } = JSON.parse(text) as Report; // as vitest documents it
  const failed = testResults.flatMap(({ assertionResults }) => assertionResults.filter((test) => test.status === 'failed'));
  const isLoaded = (file: string) =>
    testResults.some(({ name, assertionResults }) => name.endsWith(`/${file}`) && assertionResults.length > 0);
  return { failed: failed.map(({ title }) => title), isWhole: files.every(isLoaded), output };
}

function record(passed: boolean, line: string, output = ''): void {
  results[passed ? 'passed' : 'failed'] += 1;
  process.stdout.write(`${passed ? 'ok    ' : 'FAILED'}  ${line}\n`);
  if (!passed && output !== '') process.stdout.write(`${output.trim().split('\n').slice(-12).join('\n').replace(/^/gm, '        | ')}\n`);
}
