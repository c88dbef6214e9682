/**
 * Proves that each gate of `npm run verify` bites: plants violations in a copy of the repository and sees the gate catch each of them,
 * under its name. A gate that lets its violation pass, or that fails on the clean copy, fails this run. Then it adds what the newcomer's
 * map tells how to add, in the files that the map names, and sees it work.
 *
 * Violations of one step that lie in different files are planted together, because each run of a step costs seconds.
 *
 *   npm run verify:gates               all gates
 *   npm run verify:gates -- cycle      those whose name or step contains the word
 */
import { join } from 'node:path';
import { meant, readRows } from './checks/newcomer-rows.ts';
import { type Addition, additions } from './gates/additions.ts';
import { copyTree } from './gates/copy.ts';
import { steps } from './gates/steps.ts';
import type { Violation } from './gates/violations/violation.ts';
import { violations } from './gates/violations.ts';

const root = join(import.meta.dirname, '..');
const words = process.argv.slice(2);
const isAsked = (...names: string[]) => words.length === 0 || words.some((word) => names.some((name) => name.includes(word)));
const chosen = violations.filter(({ gate, step }) => isAsked(gate, step));
const copy = copyTree(root);
const results = { passed: 0, failed: 0 };

try {
  for (const step of new Set(chosen.map((violation) => violation.step))) {
    if (step === 'tests') continue;
    const { status, output } = copy.run(commandOf(step));
    record(status === 0, `clean copy passes ${step}`, output);
  }
  for (const batch of inBatches(chosen)) prove(batch);
  follow(additions.filter(({ adds }) => isAsked(`map: ${adds}`)));
} finally {
  copy.remove();
}
process.stdout.write(`verify:gates: ${results.passed} passed, ${results.failed} failed\n`);
if (results.failed > 0) process.exitCode = 1;

/** Violations of one step that touch no file twice. */
function inBatches(all: readonly Violation[]): Violation[][] {
  const batches: Violation[][] = [];
  for (const violation of all) {
    const fits = (other: Violation) => other.step === violation.step && !filesOf(other).some((file) => filesOf(violation).includes(file));
    const batch = batches.find((others) => others.every(fits));
    if (batch === undefined) batches.push([violation]);
    else batch.push(violation);
  }
  return batches;
}

function filesOf({ file, beside = {} }: Violation): string[] {
  return [file, ...Object.keys(beside)];
}

function prove(batch: readonly Violation[]): void {
  try {
    for (const { file, plant, beside = {} } of batch) {
      copy.write(file, plant);
      for (const [name, text] of Object.entries(beside)) copy.write(name, text);
    }
    const { status, output } = copy.run([...commandOf(batch[0]?.step ?? ''), ...batch.flatMap(({ args = [] }) => args)]);
    for (const { gate, step, caught } of batch) {
      const isCaught = status !== 0 && caught.test(output);
      const why = status === 0 ? 'was let through' : 'is not among what was caught';
      record(isCaught, isCaught ? `${gate}: caught by ${step}` : `${gate}: ${why} (${step})`, output);
    }
  } finally {
    copy.restore();
  }
}

/** Makes each addition in the files that its row of the map names, and in no other; then the document of the API must tell of it. */
function follow(all: readonly Addition[]): void {
  if (all.length === 0) return;
  const rows = readRows(root);
  const check = (what: string, command: readonly string[]) => {
    const { status, output } = copy.run(command);
    record(status === 0, `map: ${what} after ${all.map(({ adds }) => adds).join(' and ')}`, output);
  };
  try {
    for (const { adds, values, edits } of all) {
      const named = rows.find((row) => row.what === adds)?.paths.flatMap((path) => meant(root, path, values)) ?? [];
      for (const { file, change } of edits) {
        const target = named.find((path) => file.test(path));
        if (target !== undefined) copy.write(target, change);
        else record(false, `map: ${adds}: no file like ${file} among those that the map names`, named.join('\n'));
      }
    }
    const document = 'docs/openapi.json';
    // Out of date until it is written anew, and put back at the end.
    copy.write(document, 'planted');
    check(`${document} is written`, ['--conditions=nexus-source', 'scripts/openapi.ts']);
    for (const { adds, seen } of all)
      if (seen !== undefined) record(seen.test(copy.read(document)), `map: ${adds} is seen in ${document}`, `nothing like ${seen}`);
    for (const step of ['types', 'architecture']) check(`${step} passes`, commandOf(step));
    check('tests pass', [...commandOf('tests'), ...all.flatMap(({ tests }) => tests)]);
  } finally {
    copy.restore();
  }
}

function commandOf(name: string): readonly string[] {
  const found = steps.find((step) => step.name === name);
  if (found === undefined) throw new Error(`there is no step ${name}`);
  return found.command;
}

function record(passed: boolean, line: string, output: string): void {
  results[passed ? 'passed' : 'failed'] += 1;
  process.stdout.write(`${passed ? 'ok    ' : 'FAILED'}  ${line}\n`);
  if (!passed) process.stdout.write(`${output.trim().split('\n').slice(-12).join('\n').replace(/^/gm, '        | ')}\n`);
}
