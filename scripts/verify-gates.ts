/**
 * Proves that each gate of `npm run verify` bites: plants violations in a copy of the repository and sees the gate catch each of them,
 * under its name. A gate that lets its violation pass, or that fails on the clean copy, fails this run.
 *
 * Violations of one step that lie in different files are planted together, because each run of a step costs seconds.
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
import type { Violation } from './gates/violations/violation.ts';
import { violations } from './gates/violations.ts';

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
  for (const batch of inBatches(chosen)) prove(batch);
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
  const undo: (() => void)[] = [];
  try {
    for (const violation of batch) plant(violation, undo);
    const { status, output } = run(
      batch[0]?.step ?? '',
      batch.flatMap(({ args = [] }) => args),
    );
    for (const { gate, step, caught } of batch) {
      const isCaught = status !== 0 && caught.test(output);
      const why = status === 0 ? 'was let through' : 'is not among what was caught';
      record(isCaught, isCaught ? `${gate}: caught by ${step}` : `${gate}: ${why} (${step})`, output);
    }
  } finally {
    for (const step of undo.reverse()) step();
  }
}

function plant({ gate, file, plant: content, beside = {} }: Violation, undo: (() => void)[]): void {
  for (const [name, text] of [[file, content] as const, ...Object.entries(beside)]) {
    const path = join(copy, name);
    const before = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
    const made = before === undefined ? mkdirSync(dirname(path), { recursive: true }) : undefined;
    undo.push(() => (before === undefined ? rmSync(made ?? path, { recursive: true }) : writeFileSync(path, before)));
    const after = typeof text === 'string' ? text : text(before ?? '');
    if (after === before) throw new Error(`the violation "${gate}" changes nothing in ${name}`);
    writeFileSync(path, after);
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
