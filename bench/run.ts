/**
 * Runs every benchmark in a process of its own, prints one table, and writes bench/results/latest.json and the table of
 * docs/performance.md: no figure there is typed by hand.
 *
 *   make bench
 *   sh scripts/with-node.sh node --conditions=nexus-source bench/run.ts [--quick] [name ...]
 *
 * `--quick` takes smaller samples, to see that everything runs; its figures are not written down.
 */
import { fork } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { readArguments } from './support/arguments.ts';
import { writeTable } from './support/document.ts';
import { describe, meets, type Report, type Result } from './support/report.ts';

const { values, positionals } = readArguments({ options: { quick: { type: 'boolean', default: false } }, allowPositionals: true });

/** In this order: what starts and idles first, what leaves the machine warm last. */
const benches: readonly { readonly name: string; readonly quick: readonly string[] }[] = [
  { name: 'cold-start', quick: ['--samples', '1'] },
  { name: 'policy', quick: [] },
  { name: 'simulation', quick: ['--idle', '300', '--busy', '10'] },
  { name: 'agent-run', quick: ['--runs', '100', '--rounds', '1', '--warmup', '200', '--only', '50,1'] },
  { name: 'kept', quick: ['--runs', '200'] },
  { name: 'long-run', quick: ['--steps', '100'] },
  { name: 'long-resume', quick: ['--steps', '40,80', '--samples', '3'] },
  { name: 'resume', quick: ['--runs', '1000', '--samples', '1'] },
  { name: 'sessions', quick: ['--count', '1000'] },
  { name: 'reservations', quick: ['--seconds', '1'] },
  { name: 'admission', quick: ['--latency', '50', '--large', '500000'] },
  { name: 'sandbox', quick: ['--programs', '50', '--runs', '10', '--waiters', '500'] },
  { name: 'tools', quick: ['--calls', '20'] },
  { name: 'growth', quick: ['--runs', '5000', '--rounds', '10'] },
  { name: 'waiting', quick: ['--runs', '5000', '--wakes', '20'] },
  { name: 'scale', quick: ['--processes', '2', '--runs', '40', '--rounds', '1', '--warmup', '40'] },
  { name: 'streams', quick: ['--seconds', '1', '--subscribers', '10'] },
  { name: 'fan-out', quick: ['--readers', '50', '--rounds', '1', '--seconds', '1'] },
  { name: 'memory', quick: ['--streamed', '200', '--background', '500'] },
  { name: 'live', quick: ['--runs', '200'] },
];
const names = benches.map(({ name }) => name);
const unknown = positionals.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`error: there is no benchmark ${unknown.join(' and no ')}; there are ${names.join(', ')}\n`);
  process.exit(2);
}
/** Filling two databases takes a minute or two. */
const longestMs = 600_000;

function measure(name: string, args: readonly string[]): Promise<Report> {
  return new Promise((resolve, reject) => {
    const child = fork(join(import.meta.dirname, `${name}.ts`), args, {
      execArgv: ['--conditions=nexus-source', '--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    let found: Report | undefined;
    const timer = setTimeout(() => child.kill('SIGKILL'), longestMs);
    child.on('message', (message) => {
      found = message as Report; // sent by report()
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      if (found !== undefined && code === 0) resolve(found);
      else reject(new Error(`bench/${name}.ts ended with ${signal ?? code}${found === undefined ? ' and no figures' : ''}`));
    });
  });
}

const startedAt = performance.now();
const machine = {
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryGb: Math.round(totalmem() / 1024 ** 3),
  platform: `${process.platform} ${process.arch}`,
  node: process.version,
  loadBefore: Number((loadavg()[0] ?? 0).toFixed(2)),
};
process.stdout.write(
  `${machine.cores} cores (${machine.cpu}), ${machine.memoryGb} GB, ${machine.platform}, Node ${machine.node}, load ${machine.loadBefore}\n\n`,
);

const reports: Report[] = [];
const failures: string[] = [];
for (const { name, quick } of benches.filter((bench) => positionals.length === 0 || positionals.includes(bench.name))) {
  process.stderr.write(`measuring ${name} …\n`);
  try {
    const found = await measure(name, values.quick ? quick : []);
    reports.push(found);
    process.stdout.write(`${found.bench}\n${found.figures.map((figure) => `${describe(figure)}\n`).join('')}`);
    process.stdout.write(`${found.notes.map((note) => `  note: ${note}\n`).join('')}\n`);
  } catch (error) {
    failures.push(error instanceof Error ? error.message : String(error));
  }
}

const barred = reports.flatMap((found) => found.figures.filter((figure) => figure.bar !== undefined));
const missed = barred.filter((figure) => meets(figure) === false);
process.stdout.write(
  `${barred.length - missed.length} of ${barred.length} bars met, in ${((performance.now() - startedAt) / 1000).toFixed(0)} s\n`,
);
for (const failure of failures) process.stdout.write(`not measured: ${failure}\n`);
if (!values.quick && positionals.length === 0) {
  const folder = join(import.meta.dirname, 'results');
  mkdirSync(folder, { recursive: true });
  const result: Result = { date: new Date().toISOString(), command: 'make bench', machine, reports, failures };
  writeFileSync(join(folder, 'latest.json'), `${JSON.stringify(result, null, 2)}\n`);
  writeTable(join(import.meta.dirname, '../docs/performance.md'), result);
  process.stdout.write('written to bench/results/latest.json and docs/performance.md\n');
}
process.exitCode = failures.length > 0 ? 1 : 0;
