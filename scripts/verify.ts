/**
 * All gates of a change, one after the other; stops at the first that fails.
 *
 *   npm run verify                    everything
 *   npm run verify -- --static        without the tests
 *   npm run verify -- lint types      only these
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { steps } from './gates/steps.ts';

const asked = process.argv.slice(2);
const names = asked.filter((word) => !word.startsWith('--'));
const unknown = names.filter((name) => !steps.some((step) => step.name === name));
if (unknown.length > 0) {
  process.stderr.write(`verify: no step ${unknown.join(', ')}; there are ${steps.map((step) => step.name).join(', ')}\n`);
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
