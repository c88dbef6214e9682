/**
 * Proves that each gate of `npm run verify` bites: plants one violation at a time in a copy of the repository and sees the gate
 * catch it, under its name. A gate that lets its violation pass, or that fails on the clean copy, fails this run.
 *
 *   npm run verify:gates               all gates
 *   npm run verify:gates -- cycle      those whose name contains the word
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { listFiles } from './checks/files.ts';
import { steps } from './gates/steps.ts';
import { type Violation, violations } from './gates/violations.ts';

const root = join(import.meta.dirname, '..');
const words = process.argv.slice(2);
const chosen = violations.filter(({ gate }) => words.length === 0 || words.some((word) => gate.includes(word)));
const copy = mkdtempSync(join(tmpdir(), 'nexus-gates-'));
const results = { passed: 0, failed: 0 };

try {
  makeCopy();
  for (const step of new Set(chosen.map((violation) => violation.step))) {
    if (step === 'tests') continue;
    const { status, output } = run(step, []);
    record(status === 0, `clean copy passes ${step}`, output);
  }
  for (const violation of chosen) prove(violation);
} finally {
  rmSync(copy, { recursive: true, force: true });
}
process.stdout.write(`verify:gates: ${results.passed} passed, ${results.failed} failed\n`);
if (results.failed > 0) process.exitCode = 1;

/** The files of the work tree, in a git repository of their own, with the installed packages linked and our own packages from the copy. */
function makeCopy(): void {
  for (const file of listFiles(root)) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    cpSync(join(root, file), join(copy, file));
  }
  linkModules(join(root, 'node_modules'), join(copy, 'node_modules'));
  for (const name of readdirSync(join(root, 'packages'))) {
    const nested = join(root, 'packages', name, 'node_modules');
    if (existsSync(nested)) linkModules(nested, join(copy, 'packages', name, 'node_modules'));
  }
  execFileSync('git', ['init', '--quiet'], { cwd: copy });
}

function linkModules(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from)) {
    if (entry.startsWith('.') || entry === '@nexus-agent' || entry === 'nexus-agent') continue;
    symlinkSync(join(from, entry), join(to, entry));
  }
  if (!existsSync(join(from, '@nexus-agent'))) return;
  mkdirSync(join(to, '@nexus-agent'));
  for (const name of readdirSync(join(from, '@nexus-agent'))) symlinkSync(join(copy, 'packages', name), join(to, '@nexus-agent', name));
  symlinkSync(join(copy, 'packages/server'), join(to, 'nexus-agent'));
}

function prove(violation: Violation): void {
  const path = join(copy, violation.file);
  const before = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
  const made = before === undefined ? mkdirSync(dirname(path), { recursive: true }) : undefined;
  const content = typeof violation.plant === 'string' ? violation.plant : violation.plant(before ?? '');
  try {
    if (content === before) throw new Error(`the violation "${violation.gate}" changes nothing in ${violation.file}`);
    writeFileSync(path, content);
    const { status, output } = run(violation.step, violation.args ?? []);
    const why = status === 0 ? 'was let through' : 'failed for another reason';
    const caught = status !== 0 && violation.caught.test(output);
    record(caught, caught ? `${violation.gate}: caught by ${violation.step}` : `${violation.gate}: ${why} (${violation.step})`, output);
  } finally {
    if (before === undefined) rmSync(made ?? path, { recursive: true });
    else writeFileSync(path, before);
  }
}

function run(step: string, args: readonly string[]): { status: number | null; output: string } {
  const found = steps.find(({ name }) => name === step);
  if (found === undefined) throw new Error(`there is no step ${step}`);
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' };
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [...found.command, ...args], { cwd: copy, encoding: 'utf8', env });
  if (error !== undefined) throw error;
  return { status, output: stdout + stderr };
}

function record(passed: boolean, line: string, output: string): void {
  results[passed ? 'passed' : 'failed'] += 1;
  process.stdout.write(`${passed ? 'ok    ' : 'FAILED'}  ${line}\n`);
  if (!passed) process.stdout.write(`${output.trim().split('\n').slice(-12).join('\n').replace(/^/gm, '        | ')}\n`);
}
