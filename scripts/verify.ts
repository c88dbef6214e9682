/**
 * All gates of a change, one after the other; stops at the first that fails.
 *
 *   npm run verify                    everything
 *   npm run verify -- --static        without the tests
 *   npm run verify -- lint types      only these
 *   npm run verify -- --help          what there is
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { steps } from './gates/steps.ts';

const asked = process.argv.slice(2);
if (asked.includes('--help')) {
  for (const { name, shows } of steps) process.stdout.write(`${name.padEnd(14)}${shows}\n`);
  process.stdout.write('\nnpm run verify -- [step …]   only these\nnpm run verify -- --static   all but the tests\n');
  process.exit(0);
}
const names = asked.filter((word) => word !== '--static');
const unknown = names.filter((name) => !steps.some((step) => step.name === name));
if (unknown.length > 0) {
  process.stderr.write(
    `verify: no step or option ${unknown.join(', ')}; there are ${steps.map((step) => step.name).join(', ')}, --static, --help\n`,
  );
  process.exit(2);
}
const chosen = steps.filter(
  (step) => (names.length === 0 || names.includes(step.name)) && !(asked.includes('--static') && step.name === 'tests'),
);
for (const [index, step] of chosen.entries()) {
  const started = performance.now();
  process.stdout.write(`\n[${index + 1}/${chosen.length}] ${step.name}: ${step.shows}\n`);
  const { status, signal } = spawnSync(process.execPath, [...step.command], { stdio: 'inherit', cwd: join(import.meta.dirname, '..') });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (status !== 0) {
    const advice = step.fix === undefined ? '' : ` Try: ${step.fix}.`;
    process.stdout.write(`\nverify: ${step.name} FAILED after ${seconds} s (${signal ?? `exit ${status}`}).${advice}\n`);
    process.stdout.write(`verify: again with: npm run verify -- ${step.name}\n`);
    process.exit(1);
  }
  process.stdout.write(`[${index + 1}/${chosen.length}] ${step.name}: ok in ${seconds} s\n`);
}
process.stdout.write(`\nverify: ${chosen.length} of ${chosen.length} steps passed\n`);
