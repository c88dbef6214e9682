/**
 * From the start of `nexus serve` until it answers `/readyz`, and its memory when it then does nothing: from source, and
 * from `dist/` where it is built (npm run build).
 *
 *   node --conditions=nexus-source bench/cold-start.ts [--samples 5]
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { request } from 'undici';
import { pause, rssMb } from './support/processes.ts';
import { type Figure, median, report } from './support/report.ts';

const { values } = parseArgs({ options: { samples: { type: 'string', default: '5' } } });
const samples = Number(values.samples);
const server = join(import.meta.dirname, '../packages/server');
const cacheDir = mkdtempSync(join(tmpdir(), 'nexus-bench-cache-'));

interface Start {
  readonly readyMs: number;
  readonly rssMb: number;
}

async function startOnce(args: readonly string[]): Promise<Start> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-bench-'));
  const startedAt = performance.now();
  const child = spawn(process.execPath, [...args, 'serve', '--port', '0', '--data-dir', dataDir], {
    cwd: dataDir,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH, HOME: dataDir, NODE_COMPILE_CACHE: cacheDir },
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  try {
    let text = '';
    const url = await new Promise<string>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`nexus serve ended before it was ready: ${text}`)));
      child.stdout.on('data', (data: Buffer) => {
        text += data.toString();
        const address = /http:\/\/[\w.:]+/.exec(text)?.[0];
        if (address !== undefined) resolve(address);
      });
    });
    const answer = await request(`${url}/readyz`);
    await answer.body.dump();
    if (answer.statusCode !== 200) throw new Error(`/readyz answered ${answer.statusCode}`);
    const readyMs = performance.now() - startedAt;
    await pause(2000);
    return { readyMs, rssMb: rssMb(child.pid) };
  } finally {
    child.kill('SIGTERM');
    await exited;
    rmSync(dataDir, { recursive: true, force: true });
  }
}

function figuresOf(label: string, starts: readonly Start[]): Figure[] {
  return [
    { name: `${label}: ready`, value: median(starts.map((start) => start.readyMs)), unit: 'ms', bar: { op: '<=', value: 1000 } },
    { name: `${label}: idle memory`, value: median(starts.map((start) => start.rssMb)), unit: 'MB', bar: { op: '<=', value: 150 } },
  ];
}

async function several(args: readonly string[]): Promise<Start[]> {
  const starts: Start[] = [];
  for (let sample = 0; sample < samples; sample++) starts.push(await startOnce(args));
  return starts;
}

const figures: Figure[] = [];
const notes = [`median of ${samples} starts; idle memory is RSS two seconds after ready`];
const source = [join(server, 'bin/nexus.mjs')];
figures.push(...figuresOf('from source, nothing compiled before', [await startOnce(source)]));
figures.push(...figuresOf('from source', await several(source)));
const dist = join(server, 'dist/main.js');
if (existsSync(dist)) {
  const script = `process.argv.splice(1, 0, 'nexus'); const { main } = await import(${JSON.stringify(dist)}); process.exitCode = await main(process.argv.slice(2));`;
  const built = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script, '--'];
  figures.push(...figuresOf('from dist, nothing compiled before', [await startOnce(built)]));
  figures.push(...figuresOf('from dist', await several(built)));
} else {
  notes.push('dist/ is not built (npm run build): not measured');
}
rmSync(cacheDir, { recursive: true, force: true });
report('cold start', figures, notes);
