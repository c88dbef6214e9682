/**
 * Holds an agent run to what it cost when bench/gate.json was written: what it writes and allocates, which hardly differs from one
 * run or machine to the next, and its CPU beside that of the floor, which does. Exits with 1 when a figure is above its bar.
 *
 *   npm run verify:performance
 *   npm run verify:performance -- --write    the figures of this run become the bars, with their room
 */
import { fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { readArguments } from './support/arguments.ts';
import type { Figure, Report } from './support/report.ts';
import { describe, meets } from './support/report.ts';

const { values } = readArguments({ options: { write: { type: 'boolean', default: false } } });
const file = join(import.meta.dirname, 'gate.json');
const longestMs = 280_000;
/** By how much a figure may be above what was written down. */
const rooms: readonly (readonly [RegExp, number])[] = [
  // How many runs share a commit at 50 at a time hangs on what else the machine does.
  [/^50 .* (written to files|write calls) per run$/, 1.3],
  [/(written to files|write calls) per run$/, 1.05],
  [/JavaScript made per run$/, 1.15],
  // It is twice as much on a machine that does other work.
  [/nexus \/ floor$/, 1.6],
];

function measure(): Promise<Report> {
  return new Promise((resolve, reject) => {
    const child = fork(join(import.meta.dirname, 'agent-run.ts'), ['--only', '50,1', '--runs', '300', '--rounds', '2', '--warmup', '800'], {
      execArgv: ['--conditions=nexus-source', '--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), longestMs);
    let found: Report | undefined;
    child.on('message', (message) => {
      found = message as Report; // sent by report()
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      if (found !== undefined && code === 0) resolve(found);
      else reject(new Error(`bench/agent-run.ts ended with ${signal ?? code}`));
    });
  });
}

process.stderr.write('measuring agent runs, for a minute or two …\n');
const roomFor = (name: string) => rooms.find(([pattern]) => pattern.test(name))?.[1];
const { figures } = await measure();
if (values.write) {
  const bars = figures.flatMap(({ name, value }) => {
    const room = roomFor(name);
    return room === undefined ? [] : [[name, Number((value * room).toPrecision(3))] as const];
  });
  writeFileSync(file, `${JSON.stringify(Object.fromEntries(bars), null, 2)}\n`);
  process.stdout.write(`performance: ${bars.length} bars written to bench/gate.json\n`);
} else {
  const bars = new Map(Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>)); // written above
  const held: Figure[] = figures.flatMap((figure) => {
    const value = bars.get(figure.name);
    return value === undefined ? [] : [{ ...figure, bar: { op: '<=' as const, value } }];
  });
  for (const figure of held) process.stdout.write(`${describe(figure)}\n`);
  const missing = [...bars.keys()].filter((name) => !held.some((figure) => figure.name === name));
  for (const name of missing) process.stdout.write(`not measured: ${name}\n`);
  const above = held.filter((figure) => meets(figure) !== true);
  process.stdout.write(`performance: ${held.length - above.length} of ${bars.size} figures within their bars\n`);
  if (above.length > 0)
    process.stdout.write(
      `The load average is ${(loadavg()[0] ?? 0).toFixed(1)}. On a machine that does other work fewer runs share a commit, and nexus / floor is more: measure again when it rests.\nWhere a change is worth what it costs: npm run verify:performance -- --write\n`,
    );
  process.exitCode = above.length + missing.length > 0 ? 1 : 0;
}
