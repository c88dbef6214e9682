/**
 * Every bug of `npm run verify:mutants`, which takes long and runs by itself, can still be planted: its text stands in its file once, and
 * the tests that are there to catch it exist.
 *
 *   node scripts/checks/mutants.ts
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mutants } from '../mutants/list.ts';
import { placesOf } from '../mutants/mutant.ts';
import { type Finding, report } from './files.ts';

const root = process.cwd();
const findings: Finding[] = mutants.flatMap((mutant) => {
  const { bug, file, replace, tests } = mutant;
  const found = (rule: string, message: string): Finding => ({ rule, file, message: `"${bug}": ${message}` });
  const path = join(root, file);
  if (!existsSync(path)) return [found('mutant-file', 'there is no such file')];
  const places = placesOf(mutant, readFileSync(path, 'utf8'));
  const lost = places === 1 ? [] : [found('mutant-place', `${places} places have ${JSON.stringify(replace)}`)];
  return [...lost, ...tests.filter((test) => !existsSync(join(root, test))).map((test) => found('mutant-test', `there is no ${test}`))];
});
report('mutants', `${mutants.length} bugs`, findings);
