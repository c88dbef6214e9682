/**
 * Compares this checkout with another one, benchmark by benchmark, in turns: noise of the machine falls on both. Each
 * figure is the median of its rounds; the spread is that of the ratios of the rounds.
 *
 *   node --conditions=nexus-source bench/compare.ts <other checkout> [--rounds 5] [--worse 3] [--quick] [name ...]
 *
 * The other checkout must be bootstrapped. Exits with 1 when a figure is worse here by more than `--worse` percent.
 */
import { fork } from 'node:child_process';
import { join, resolve } from 'node:path';
import { readArguments } from './support/arguments.ts';
import { type Figure, format, median, type Report } from './support/report.ts';

const { values, positionals } = readArguments({
  options: {
    rounds: { type: 'string', default: '5' },
    worse: { type: 'string', default: '3' },
    quick: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const [otherFolder, ...chosen] = positionals;
if (otherFolder === undefined) {
  process.stderr.write('compare: say which checkout to compare with: bench/compare.ts <folder> [name ...]\n');
  process.exit(2);
}
const other = resolve(otherFolder);
const here = join(import.meta.dirname, '..');
const rounds = Number(values.rounds);
const allowed = Number(values.worse) / 100;
const names =
  chosen.length > 0 ? chosen : ['cold-start', 'policy', 'agent-run', 'long-run', 'sessions', 'reservations', 'streams', 'memory'];
/** Smaller samples than a benchmark of its own: there are several rounds of them. */
const sizes: Readonly<Record<string, readonly string[]>> = {
  'agent-run': ['--runs', '300', '--rounds', '2', '--warmup', '600', '--only', '50'],
  ...(values.quick ? { 'cold-start': ['--samples', '1'], sessions: ['--count', '1000'], reservations: ['--seconds', '1'] } : {}),
};
const longestMs = 180_000;

function measure(checkout: string, name: string): Promise<Report> {
  return new Promise((resolveReport, reject) => {
    const child = fork(join(checkout, 'bench', `${name}.ts`), sizes[name] ?? [], {
      cwd: checkout,
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
      if (found !== undefined && code === 0) resolveReport(found);
      else reject(new Error(`${join(checkout, 'bench', name)}.ts ended with ${signal ?? code}`));
    });
  });
}

/** How much worse the figure is here, as a share of the other: 0.02 is 2 % worse, negative is better. */
function worsening(before: number, after: number, { unit, bar }: Figure): number {
  const higherIsBetter = unit === '/s' || bar?.op === '>=';
  return higherIsBetter ? before / after - 1 : after / before - 1;
}

let tooBad = 0;
for (const name of names) {
  const pairs: { before: Report; after: Report }[] = [];
  for (let round = 0; round < rounds; round++) {
    // Who goes first changes: the second finds a warmer machine.
    const first = round % 2 === 0 ? other : here;
    const one = await measure(first, name);
    const two = await measure(first === other ? here : other, name);
    pairs.push(first === other ? { before: one, after: two } : { before: two, after: one });
  }
  process.stdout.write(`${name}, ${rounds} rounds in turns\n`);
  for (const figure of pairs[0]?.after.figures ?? []) {
    const of = (report: Report) => report.figures.find((candidate) => candidate.name === figure.name)?.value ?? Number.NaN;
    const before = median(pairs.map((pair) => of(pair.before)));
    const after = median(pairs.map((pair) => of(pair.after)));
    const ratios = pairs.map((pair) => of(pair.after) / of(pair.before)).sort((a, b) => a - b);
    const share = worsening(before, after, figure);
    const bad = share > allowed;
    if (bad) tooBad += 1;
    const spread = `${(ratios[0] ?? Number.NaN).toFixed(2)}-${(ratios.at(-1) ?? Number.NaN).toFixed(2)}`;
    process.stdout.write(
      `  ${figure.name.padEnd(58)} ${format(before).padStart(9)} -> ${format(after).padStart(9)} ${figure.unit.padEnd(6)} x ${(after / before).toFixed(3)} (${spread})${bad ? '  WORSE' : ''}\n`,
    );
  }
}
process.stdout.write(`compare: ${tooBad} figures worse by more than ${values.worse} %\n`);
process.exitCode = tooBad > 0 ? 1 : 0;
