/**
 * All gates of a change, one after the other; stops at the first that fails.
 *
 *   npm run verify                    everything
 *   npm run verify -- --static        without the tests
 *   npm run verify -- lint types      only these
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

export interface Step {
  readonly name: string;
  readonly shows: string;
  readonly command: readonly string[];
  readonly fix?: string;
}

/** Each command is a script or a tool's entry point that runs with this Node, from the root of the repository. */
export const steps: readonly Step[] = [
  {
    name: 'format',
    shows: 'every file is formatted',
    command: ['node_modules/@biomejs/biome/bin/biome', 'format', '--max-diagnostics=20'],
    fix: 'npm run fix',
  },
  {
    name: 'lint',
    shows: 'no known mistake, no any, no console',
    command: ['node_modules/@biomejs/biome/bin/biome', 'lint', '--error-on-warnings', '--max-diagnostics=50'],
    fix: 'npm run fix, then what it leaves',
  },
  { name: 'types', shows: 'everything compiles, strictly', command: ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'] },
  { name: 'architecture', shows: 'layers, doors, drivers, package dependencies, cycles', command: ['scripts/checks/architecture.ts'] },
  { name: 'dead-code', shows: 'no unused file, export or dependency', command: ['node_modules/knip/bin/knip.js', '--no-progress'] },
  {
    name: 'lockfile',
    shows: 'the lockfile is whole and agrees with the manifests',
    command: ['scripts/checks/lockfile.ts'],
    fix: 'npm run fix:lockfile',
  },
  { name: 'text', shows: 'file lengths, machine traces, unfinished work, skipped tests, links', command: ['scripts/checks/text.ts'] },
  { name: 'requirements', shows: 'each promise has a test', command: ['scripts/checks/requirements.ts'] },
  { name: 'tests', shows: 'everything behaves', command: ['node_modules/vitest/vitest.mjs', 'run'] },
];

if (import.meta.main) {
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
}
